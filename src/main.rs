//! The command line; everything is in the library.

use std::process::ExitCode;

/// Gives back what it no longer needs, which glibc's own keeps for each thread (benches/README.md has the figures).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    attache::main()
}
