//! `[admin]`.

use crate::config::syntax::error::ProblemKind;
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::value::Spanned;
use crate::config::tables::listeners::address;
use crate::config::tables::secrets::secret;
use crate::config::types::AdminConfig;

/// Reads `[admin]`; the address stands apart for the check that no two listeners share one.
pub(crate) fn admin(mut table: TableReader<'_>) -> Option<Spanned<AdminConfig>> {
    let address = address(&mut table);
    let token = table.get("token");
    if let Some(address) = address.as_ref().filter(|address| token.is_none() && !address.value.is_local()) {
        table.file.wrong(
            address.at,
            (ProblemKind::OpenToOthers, "admin.address"),
            "is open to other machines without a token",
            "write 127.0.0.1 and the port, or add token = { env = \"NAME\" }",
        );
    }
    let token = token.map(|value| secret(&value));
    table.finish();
    let address = address?;
    // The inner `None` is a token that could not be read, which is a problem already.
    let token = token.map_or(Some(None), |token| token.map(Some))?;
    Some(Spanned { at: address.at, value: AdminConfig { address: address.value, token } })
}
