//! The other ends of the wire: a running attache, scripted servers, and callers that write raw bytes.

mod balancer;
mod binary;
mod caller;
pub mod frames;
mod http2;
mod local_ca;
pub mod namespace;
mod parent_proxy;
mod proxy;
mod raw;
mod server;
mod setup;
mod skipped;
mod snapshot;
mod time;
mod tls;
mod wire;
mod world;

pub use balancer::{Balancer, Replica};
pub use binary::{Finished, Folder, Running};
pub use caller::{Answer, Caller, get, send};
pub use frames::Frames;
pub use http2::{http2_caller, http2_caller_with, in_front_of_http2, read_body};
pub use local_ca::LocalCa;
pub use parent_proxy::ParentProxy;
pub use proxy::TestProxy;
pub use raw::Raw;
pub use server::{Asked, Reply, Scripted, TokenServer};
pub use setup::{ADMIN, FORWARD, credential, reverse, upstream};
pub use skipped::skipped;
pub use snapshot::Snapshots;
pub use time::{real_time, until, until_still};
pub use tls::{Http2Server, TestCa, TlsFront};
pub use wire::read_head;
pub use world::World;
