//! `[callers.X]`.

use crate::config::syntax::reader::TableReader;
use crate::config::syntax::value::{Spanned, Value};
use crate::config::tables::secrets::secrets;
use crate::secret::Secrets;
use crate::tls::server::WantedName;

/// `[callers.X]`.
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) at: usize,
    pub(crate) password: Option<Secrets>,
    /// A name in the certificate of its connection.
    pub(crate) certificate: Option<WantedName>,
    /// The credential whose token it gets from a token listener, if that does not have the caller's own name.
    pub(crate) credential: Option<Spanned<String>>,
}

/// Reads `[callers.NAME]`.
pub(crate) fn caller(name: &str, mut table: TableReader<'_>) -> Option<Caller> {
    let at = table.at;
    let given = (table.has("password"), table.has("certificate"));
    let password = table.get("password").map(|value| secrets(&value));
    let certificate = table.get("certificate").and_then(|value| certificate_name(&value));
    if given == (false, false) {
        table.missing("password", "write password = { env = \"NAME\" }: what this caller proves itself with");
    }
    let credential =
        table.get("credential").and_then(|value| Some(Spanned { at: value.at, value: value.text()?.to_owned() }));
    table.finish();
    // A password that cannot be read is a problem already.
    let password = password.map_or(Some(None), |password| password.map(Some))?;
    if password.is_none() && certificate.is_none() {
        return None;
    }
    Some(Caller { name: name.to_owned(), at, password, certificate, credential })
}

fn certificate_name(value: &Value<'_>) -> Option<WantedName> {
    let remedy = "write \"dns:NAME\", \"uri:URI\", \"email:ADDRESS\" or \"cn:NAME\"";
    WantedName::parse(value.text()?).or_else(|| value.wrong("names nothing", remedy))
}
