//! Programs of the system itself, run for attache's own ends: from folders that root alone may write, and with an environment that
//! holds no secret. What stands in `PATH` may have been put there by a program that was run before.

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// Where the system and its administrator put programs, the system's own first; the last one is `NixOS`'s.
const FOLDERS: [&str; 7] =
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin", "/run/current-system/sw/bin"];

/// What such a program may know: whose files are meant, and the language that it speaks.
const KEPT: [&str; 4] = ["HOME", "LANG", "LC_ALL", "TMPDIR"];

/// Where a program of the system is.
#[must_use]
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|program| program.is_file())
}

/// Runs one, with nothing of this environment but what it needs; what it starts in turn comes from the same folders.
#[must_use]
pub(crate) fn tool_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let kept = KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept).env("PATH", FOLDERS.join(":"));
    command
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_system_is_found_whatever_path_says() {
        let found = tool("sh").unwrap();
        assert!(found.starts_with("/usr/bin") || found.starts_with("/bin") || found.starts_with("/run"), "{found:?}");
        assert_eq!(tool("surely-no-program-of-any-system"), None);
    }

    #[tokio::test]
    async fn a_program_of_the_system_has_no_variable_of_ours() {
        let output = tool_command(&tool("env").unwrap()).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let names: Vec<&str> = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        // cargo sets this one for its tests.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && names.contains(&"PATH"), "{names:?}");
        assert!(names.iter().all(|name| KEPT.contains(name) || *name == "PATH"), "{names:?}");
    }
}
