//! One program beside a proxy: what its environment tells it, and how it is run.
//!
//! - `environment`: the variables by which programs find a proxy and trust a certificate authority, as plain data;
//! - `no_proxy`: the hosts that programs go to directly, without those that they are to reach through the proxy;
//! - `java`: the same for programs that read no environment, as options;
//! - `node`: a script by which Node.js goes through a proxy;
//! - `shell`: the variables written down, so that a shell reads exactly them;
//! - `before`: what they were, for who takes it all back;
//! - `trust`: the files that some of the variables name (`client_files`: in programs' own formats), and `folders` where they are;
//! - `child`: a program as it would be without the proxy: terminal, signals, exit code;
//! - `tools`: programs of the system that attache itself runs;
//! - `isolate`: the same in a network of its own, in which nothing else is.

mod before;
mod child;
mod client_files;
mod environment;
mod files;
mod folders;
#[cfg(target_os = "linux")]
pub(crate) mod isolate;
mod java;
mod no_proxy;
mod node;
mod setup;
mod shell;
mod tools;
mod trust;

pub(crate) use before::Before;
pub(crate) use child::Child;
#[cfg(target_os = "linux")]
pub(crate) use child::{hide_from_others, users};
pub(crate) use environment::{Change, Environment};
pub(crate) use folders::{PrivateFolder, cache_folder, kept_from_others, let_others_read, private_folder};
pub(crate) use node::preload as node_preload;
pub(crate) use setup::{Proxy, Setup, Trust};
pub(crate) use shell::Notation;
pub(crate) use tools::{tool, tool_command};
pub(crate) use trust::{JavaStore, Trusted};
