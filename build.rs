//! Tells the program what it is built for, and with which libraries of cryptography: `attache version --json` says it.

use std::path::Path;

/// Those whose versions people ask about first.
const LIBRARIES: [(&str, &str); 2] = [("rustls", "ATTACHE_VERSION_RUSTLS"), ("aws-lc-rs", "ATTACHE_VERSION_AWS_LC_RS")];

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    println!("cargo::rustc-env=ATTACHE_TARGET={}", variable("TARGET"));
    let lock = Path::new(&variable("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-env-changed=ATTACHE_COMMIT");
    let lock = std::fs::read_to_string(lock).unwrap_or_default();
    for (library, name) in LIBRARIES {
        println!("cargo::rustc-env={name}={}", version(&lock, library).unwrap_or_default());
    }
}

/// The version of a package in a lock file.
fn version<'l>(lock: &'l str, package: &str) -> Option<&'l str> {
    let (_, rest) = lock.split_once(&format!("\nname = \"{package}\"\nversion = \""))?;
    rest.split('"').next()
}
