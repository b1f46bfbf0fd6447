//! `[admin]` alone, for commands that ask a running attache something. They need neither the rest of the file to be right
//! nor its secrets to be at hand: a service has those, and the person at the terminal may not.

use std::path::Path;

use crate::config::files;
use crate::config::syntax::error::ConfigErrors;
use crate::config::syntax::file::{File, environment};
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::tree::Table;
use crate::config::tables::listeners::address;
use crate::config::tables::secrets::secret;
use crate::config::types::{AdminConfig, Config};

impl Config {
    /// The `[admin]` of a file; `None` where there is none. With `with_token`, `admin.token` has to be readable; without,
    /// it is left out.
    ///
    /// # Errors
    /// That the file cannot be read, or every problem of `[admin]`.
    pub(crate) fn load_admin(path: &Path, with_token: bool) -> Result<Option<AdminConfig>, ConfigErrors> {
        let mut file = File::new(&environment, with_token);
        let tree = files::read(&mut file, path)?;
        admin(file, &tree, &path.display().to_string(), with_token)
    }
}

fn admin(file: File<'_>, tree: &Table, source: &str, with_token: bool) -> Result<Option<AdminConfig>, ConfigErrors> {
    let table = TableReader::new(&file, String::new(), 0, tree).table("admin");
    let found = table.map(|mut table| {
        let address = address(&mut table);
        let token = table.get("token").filter(|_| with_token).map(|value| secret(&value));
        table.finish();
        // The inner `None` is a token that could not be read, which is a problem already.
        let token = token.map_or(Some(None), |token| token.map(Some));
        address.zip(token).map(|(address, token)| AdminConfig { address: address.value, token })
    });
    let whole = file.is_whole();
    let (problems, _warnings) = file.into_findings();
    match found {
        Some(Some(admin)) => Ok(Some(admin)),
        None if whole => Ok(None),
        _ => Err(ConfigErrors { source: source.to_owned(), problems }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::ListenAddress;

    fn admin(text: &str, with_token: bool) -> Result<Option<AdminConfig>, String> {
        let mut file = File::new(&|_| None, with_token);
        let text = crate::secret::Secret::new(text.to_owned());
        let tree = files::read_whole(&mut file, "proxy.toml", text, Path::new(""), Path::new(""));
        super::admin(file, &tree, "proxy.toml", with_token).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_rest_of_the_file_does_not_matter() {
        let text =
            "[admin]\naddress = \"127.0.0.1:8079\"\n[credentials.a]\nclient_secret = { env = \"NOT_SET\" }\n[x\n";
        let read = admin(text, true).unwrap().unwrap();
        assert_eq!(read.address, ListenAddress::Tcp("127.0.0.1:8079".parse().unwrap()));
        assert!(read.token.is_none());
        assert!(admin("[listeners.a]\n", true).unwrap().is_none());
    }

    #[test]
    fn a_token_that_is_not_at_hand_matters_only_if_it_is_needed() {
        let text = "[admin]\naddress = \"127.0.0.1:8079\"\ntoken = { env = \"NOT_SET\" }\n";
        assert!(admin(text, false).unwrap().unwrap().token.is_none());
        assert!(admin(text, true).unwrap_err().contains("names the environment variable NOT_SET"));
        assert!(admin("[admin]\n", true).unwrap_err().contains("`admin.address` is missing"));
        assert!(admin("[admin]\naddress = \"x\"\n", true).unwrap_err().contains("`admin.address` is not an address"));
    }
}
