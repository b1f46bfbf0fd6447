//! Which namespaces this system lets the user have: tried, since rules about them are in a dozen places.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::super::tools::{tool, tool_command};

/// How long a system may take to say no.
const TRIAL: Duration = Duration::from_secs(10);

/// A way to namespaces.
#[derive(Debug)]
pub(crate) struct Way {
    unshare: PathBuf,
    arguments: &'static [&'static str],
}

/// root's own: what is inside goes on knowing all users. Where a container keeps that from its root, the other one may do.
const AS_ROOT: &[&str] = &["--net", "--mount"];

/// Any user's: within a user namespace, as whose root the network is set up.
const AS_USER: &[&str] = &["--user", "--map-root-user", "--net", "--mount"];

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoWay {
    /// A program of the system is missing.
    #[error("--isolate needs the program `{program}`, which is not installed here; install the package {package}")]
    Missing { program: &'static str, package: &'static str },
    /// The system does not let this user.
    #[error("--isolate needs namespaces, and this system lets the user have none ({said}); {remedy}")]
    Forbidden { said: String, remedy: String },
    /// The trial itself failed.
    #[error("--isolate: {0}")]
    Trial(io::Error),
}

/// The way to namespaces of this user, once it has been seen to work.
///
/// # Errors
/// As [`NoWay`] says, with what to do.
pub(crate) async fn way() -> Result<Way, NoWay> {
    let unshare = tool("unshare").ok_or(NoWay::Missing { program: "unshare", package: "util-linux" })?;
    let ip = tool("ip").ok_or(NoWay::Missing { program: "ip", package: "iproute2" })?;
    let ways: &[_] = if rustix::process::geteuid().is_root() { &[AS_ROOT, AS_USER] } else { &[AS_USER] };
    let mut said = String::new();
    for arguments in ways {
        let way = Way { unshare: unshare.clone(), arguments };
        match way.trial(&ip).await? {
            None => return Ok(way),
            Some(refused) => said = refused,
        }
    }
    Err(NoWay::Forbidden { said, remedy: remedy(Path::new("/")) })
}

impl Way {
    /// Sets up a network, and makes the second user namespace; says what is refused.
    async fn trial(&self, ip: &Path) -> Result<Option<String>, NoWay> {
        let network: [&OsStr; 5] = [ip.as_os_str(), "link".as_ref(), "set".as_ref(), "lo".as_ref(), "up".as_ref()];
        let within: [&OsStr; 5] =
            [self.unshare.as_os_str(), "--user".as_ref(), "--".as_ref(), ip.as_os_str(), "-V".as_ref()];
        for command in [network, within] {
            let mut trial = tool_command(&self.unshare);
            trial.args(self.arguments).arg("--").args(command).stdin(Stdio::null()).kill_on_drop(true);
            let output = tokio::time::timeout(TRIAL, trial.output());
            let output =
                output.await.map_err(|_elapsed| NoWay::Trial(io::ErrorKind::TimedOut.into()))?.map_err(NoWay::Trial)?;
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr);
                return Ok(Some(error.lines().next().unwrap_or("unshare says nothing").trim().to_owned()));
            }
        }
        Ok(None)
    }

    /// What starts a program in new namespaces.
    pub(crate) fn command(&self, program: &Path) -> (OsString, Vec<OsString>) {
        let arguments = self.arguments.iter().map(OsString::from);
        (self.unshare.clone().into(), arguments.chain(["--".into(), program.into()]).collect())
    }
}

/// What an administrator can do, by what the system's own switches say.
fn remedy(root: &Path) -> String {
    let is = |switch: &str, value: &str| {
        std::fs::read_to_string(root.join("proc/sys").join(switch)).is_ok_and(|found| found.trim() == value)
    };
    let sysctl = |setting: &str| format!("an administrator can allow them: sysctl -w {setting}");
    if is("kernel/unprivileged_userns_clone", "0") {
        return sysctl("kernel.unprivileged_userns_clone=1");
    }
    if is("user/max_user_namespaces", "0") {
        return sysctl("user.max_user_namespaces=10000");
    }
    if is("user/max_net_namespaces", "0") {
        return sysctl("user.max_net_namespaces=10000");
    }
    if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return format!(
            "{}, or give attache an AppArmor profile with `userns,`",
            sysctl("kernel.apparmor_restrict_unprivileged_userns=0")
        );
    }
    if root.join(".dockerenv").exists() || root.join("run/.containerenv").exists() {
        return "in a container, its seccomp profile forbids them: start it with --security-opt seccomp=unconfined, or with \
                a profile that allows unshare, mount and setns"
            .to_owned();
    }
    "a sandbox, a container's seccomp profile or a security module forbids them; run attache outside of it, or have it allow \
     unshare and mount"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::super::folders::private_folder;
    use super::*;

    #[test]
    fn what_forbids_namespaces_is_named_with_what_allows_them() {
        let root = private_folder().unwrap();
        let told = remedy(root.path());
        assert!(told.contains("seccomp"), "{told}");
        for (switch, value, sentence) in [
            (
                "kernel/apparmor_restrict_unprivileged_userns",
                "1\n",
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            ("user/max_net_namespaces", "0\n", "sysctl -w user.max_net_namespaces=10000"),
            ("user/max_user_namespaces", "0\n", "sysctl -w user.max_user_namespaces=10000"),
            ("kernel/unprivileged_userns_clone", "0\n", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ] {
            let file = root.path().join("proc/sys").join(switch);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, value).unwrap();
            let told = remedy(root.path());
            assert!(told.contains(sentence), "{told}");
        }
    }

    #[test]
    fn a_container_is_told_of_its_profile() {
        let root = private_folder().unwrap();
        std::fs::write(root.path().join(".dockerenv"), "").unwrap();
        assert!(remedy(root.path()).contains("--security-opt"));
    }
}
