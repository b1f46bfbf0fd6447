//! One program beside a proxy: what its environment tells it, and how it is run.
//!
//! - `environment`: the variables by which programs find a proxy and trust a certificate authority, as plain data;
//! - `no_proxy`: the hosts that programs go to directly, without those that they are to reach through us;
//! - `java`: the same for programs that read no environment, as options;
//! - `shell`: the variables written down, so that a shell reads exactly them;
//! - `trust`: the files that some of the variables name;
//! - `child`: a program as it would be without us: terminal, signals, exit code.

mod child;
mod environment;
mod java;
mod no_proxy;
mod shell;
mod trust;

pub(crate) use child::Child;
#[cfg(target_os = "linux")]
pub(crate) use child::{hide_from_others, users};
pub(crate) use environment::{Change, Environment, Proxy, Setup, Trust};
pub(crate) use shell::Notation;
pub(crate) use trust::{JavaStore, PrivateFolder, Trusted, cache_folder, kept_from_others};
