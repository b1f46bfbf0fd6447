//! Programs that take trusted certificates from no variable, but from a file of their own that a variable names: PHP, apt, wget.

use std::io;
use std::path::Path;

use super::files::{Readers, put, put_for, text};
use crate::secret::access::is_open_to_all;

/// The variables that are set here.
pub(super) const VARIABLES: [&str; 3] = [APT, PHP, WGET];

const APT: &str = "APT_CONFIG";
const PHP: &str = "PHP_INI_SCAN_DIR";
const WGET: &str = "SYSTEM_WGETRC";

/// Where wget reads the machine's settings, unless a variable says otherwise.
const WGETRC: &str = "/etc/wgetrc";

/// What separates the folders of a list.
const LISTED: char = if cfg!(windows) { ';' } else { ':' };

/// Writes these files into a folder, under names that begin with `name`, and gives the variables. Each has what the environment's
/// own file had, and the bundle.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(
    folder: &Path,
    name: &str,
    bundle: &str,
    current: &dyn Fn(&str) -> Option<String>,
) -> io::Result<Vec<(&'static str, String)>> {
    let before = |variable: &str| current(variable).filter(|value| !value.is_empty());
    let mut variables = Vec::new();
    // Of the three none has a way to write a quote between quotes.
    if bundle.contains(['"', '\'', '\n', ';']) {
        return Ok(variables);
    }
    let apt = folder.join(format!("{name}.apt.conf"));
    let included = before(APT).map(|before| format!("#include \"{before}\";\n")).unwrap_or_default();
    put(&apt, format!("{included}Acquire::https::CaInfo \"{bundle}\";\n").as_bytes())?;
    variables.push((APT, text(&apt)?));

    // PHP reads every *.ini of a folder; an empty entry of the list is the folder that it was built with.
    let php = folder.join(format!("{name}-php"));
    match std::fs::create_dir(&php) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    #[cfg(unix)]
    std::fs::set_permissions(&php, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    put(&php.join("attache.ini"), format!("curl.cainfo = '{bundle}'\nopenssl.cafile = '{bundle}'\n").as_bytes())?;
    variables.push((PHP, format!("{}{LISTED}{}", before(PHP).unwrap_or_default(), text(&php)?)));

    if cfg!(unix) {
        let wget = folder.join(format!("{name}.wgetrc"));
        let machine = before(WGET).unwrap_or_else(|| WGETRC.to_owned());
        let machine = Path::new(&machine);
        // It may have a password in it.
        let readers = if is_open_to_all(machine) || !machine.exists() { Readers::Everybody } else { Readers::Owner };
        let settings = std::fs::read_to_string(machine).unwrap_or_default();
        put_for(readers, &wget, format!("{settings}\nca_certificate = {bundle}\n").as_bytes())?;
        variables.push((WGET, text(&wget)?));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::super::folders::private_folder;
    use super::*;

    fn content(variables: &[(&str, String)], name: &str) -> String {
        let (_, path) = variables.iter().find(|(known, _)| *known == name).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_the_environment_had_goes_before() {
        let folder = private_folder().unwrap();
        let own = folder.path().join("own.wgetrc");
        std::fs::write(&own, "tries = 3").unwrap();
        let own = own.to_str().unwrap().to_owned();
        let current = |name: &str| match name {
            "APT_CONFIG" => Some("/etc/own.conf".to_owned()),
            "PHP_INI_SCAN_DIR" => Some("/etc/php".to_owned()),
            "SYSTEM_WGETRC" => Some(own.clone()),
            _ => None,
        };
        let variables = write(folder.path(), "ca", "/x/ca.pem", &current).unwrap();
        assert_eq!(
            content(&variables, "APT_CONFIG"),
            "#include \"/etc/own.conf\";\nAcquire::https::CaInfo \"/x/ca.pem\";\n"
        );
        assert_eq!(content(&variables, "SYSTEM_WGETRC"), "tries = 3\nca_certificate = /x/ca.pem\n");
        let folders = variables.iter().find(|(name, _)| *name == "PHP_INI_SCAN_DIR").unwrap().1.clone();
        let (before, ours) = folders.split_once(':').unwrap();
        let ini = std::fs::read_to_string(Path::new(ours).join("attache.ini")).unwrap();
        assert_eq!((before, ini.as_str()), ("/etc/php", "curl.cainfo = '/x/ca.pem'\nopenssl.cafile = '/x/ca.pem'\n"));
        // Again, as `env` does in the same folder.
        let variables = write(folder.path(), "ca", "/x/ca.pem", &|_| None).unwrap();
        assert!(variables.iter().any(|(name, value)| *name == "PHP_INI_SCAN_DIR" && value.starts_with(":/")));
    }

    #[cfg(unix)]
    #[test]
    fn settings_that_others_may_not_read_stay_so_in_the_copy() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = private_folder().unwrap();
        let own = folder.path().join("own.wgetrc");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let chmod = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        std::fs::write(&own, "http_password = s3cret").unwrap();
        chmod(folder.path(), 0o711);
        let text = own.to_str().unwrap().to_owned();
        for (of_the_source, of_the_copy) in [(0o600, 0o600), (0o640, 0o600), (0o644, 0o644), (0o600, 0o600)] {
            chmod(&own, of_the_source);
            let current = |name: &str| (name == "SYSTEM_WGETRC").then(|| text.clone());
            let variables = write(folder.path(), "ca", "/x/ca.pem", &current).unwrap();
            let copy = folder.path().join("ca.wgetrc");
            assert_eq!(mode(&copy), of_the_copy, "{of_the_source:o}");
            super::super::folders::let_others_read(folder.path()).unwrap();
            assert_eq!(mode(&copy), of_the_copy, "for commands that become another user");
            assert!(content(&variables, "SYSTEM_WGETRC").contains("s3cret"));
            assert_eq!(mode(&folder.path().join("ca.apt.conf")), 0o644);
        }
    }

    #[test]
    fn a_path_that_their_formats_cannot_say_is_left_out() {
        let folder = private_folder().unwrap();
        assert_eq!(write(folder.path(), "ca", "/it's/ca.pem", &|_| None).unwrap(), []);
    }
}
