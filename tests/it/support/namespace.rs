//! A test in namespaces of its own: with its own loopback network and its own `/etc/resolv.conf`, as root of nothing else.

#![expect(clippy::print_stderr, reason = "what a test in namespaces says is heard through this one")]

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use super::skipped;

/// Set where the test runs inside.
const INSIDE: &str = "ATTACHE_TEST_INSIDE";

/// An address of the network inside that is not loopback.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

/// True inside of the namespaces. Outside, runs the test of this name there and fails as it fails; where a machine forbids
/// namespaces, it is skipped.
pub fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let folder = tempfile::tempdir().unwrap();
    let (resolv, hosts) = (folder.path().join("resolv.conf"), folder.path().join("hosts"));
    std::fs::write(&resolv, "nameserver 127.0.0.1\n").unwrap();
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let setup = format!(
        "ip link set lo up && ip addr add {ELSEWHERE}/32 dev lo && mount --bind {} /etc/resolv.conf && mount --bind {} /etc/hosts",
        resolv.display(),
        hosts.display()
    );
    let probe = Command::new("unshare").args(["-rmn", "sh", "-c", &setup]).output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        skipped(&format!("this machine does not let tests have namespaces (unshare -rmn, ip, mount): {probe:?}"));
        return false;
    }
    let binary = std::env::current_exe().unwrap();
    let ran = Command::new("unshare")
        .args(["-rmn", "sh", "-c", &format!("{setup} && exec \"$0\" \"$@\"")])
        .arg(binary)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    eprintln!("{err}");
    assert!(ran.status.success() && out.contains("1 passed"), "inside: {out}\n{err}");
    false
}

/// The name server of the namespace: says which address a name has, or nothing at all.
pub fn name_server(answer: impl Fn(&str) -> Option<Ipv4Addr> + Send + 'static) {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    // Ends with the process, which is the test's own.
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let Some(reply) = reply(&query[..length], &answer) else { continue };
            socket.send_to(&reply, from).unwrap();
        }
    });
}

/// RFC 1035 section 4: the question, and an A record; for every other type no record.
fn reply(query: &[u8], answer: &impl Fn(&str) -> Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(std::str::from_utf8(&query[at + 1..=at + length]).ok()?.to_owned());
        at += length + 1;
    }
    let address = answer(&labels.join("."))?;
    let is_a = query[at + 1..at + 3] == [0, 1];
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    reply.extend(&query[12..at + 5]);
    if is_a {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}
