//! The files by which programs resolve names, laid over the system's own within these mounts alone.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::mount_bind;

/// Answers for a network that is not there; without it, programs ask the name server themselves.
const CACHES: [&str; 2] = ["/run/nscd/socket", "/var/run/nscd/socket"];

/// Where a system has none of these, programs do what they would be told here: ask 127.0.0.1.
pub(super) fn lay_over(folder: &Path, name_server: std::net::IpAddr) -> io::Result<()> {
    let etc = |name: &str| Path::new("/etc").join(name);
    over(folder, "resolv.conf", &etc("resolv.conf"), &format!("nameserver {name_server}\n"))?;
    let node = rustix::system::uname();
    over(folder, "hosts", &etc("hosts"), &hosts(&node.nodename().to_string_lossy()))?;
    if let Ok(before) = fs::read_to_string(etc("nsswitch.conf")) {
        over(folder, "nsswitch.conf", &etc("nsswitch.conf"), &switch(&before))?;
    }
    let caches: BTreeSet<PathBuf> = CACHES.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    caches.iter().try_for_each(|cache| over(folder, "no-cache", cache, ""))
}

fn over(folder: &Path, name: &str, target: &Path, content: &str) -> io::Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let file = folder.join(name);
    fs::write(&file, content)?;
    readable(&file)?;
    let explained = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", target.display()));
    mount_bind(&file, target).map_err(|error| explained(error.into()))
}

/// For programs that become another user.
fn readable(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))
}

/// The machine itself, and no name that could hide an upstream's.
fn hosts(node: &str) -> String {
    format!("127.0.0.1 localhost\n127.0.1.1 {node}\n::1 localhost ip6-localhost ip6-loopback\n")
}

/// The same, with hosts looked up in files and by DNS alone: other services ask over sockets that lead outside.
fn switch(before: &str) -> String {
    let others = before.lines().filter(|line| !line.trim_start().starts_with("hosts:"));
    others.chain(["hosts: files dns"]).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_looked_up_in_files_and_by_dns_alone() {
        let before =
            "passwd: files systemd\n hosts: files mymachines resolve [!UNAVAIL=return] dns\nservices: db files\n";
        assert_eq!(switch(before), "passwd: files systemd\nservices: db files\nhosts: files dns\n");
    }
}
