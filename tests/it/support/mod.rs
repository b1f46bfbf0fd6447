//! The other ends of the wire: a running attache, scripted servers, and callers that write raw bytes.

mod caller;
mod proxy;
mod server;
mod world;

pub use caller::{Answer, Caller, get, send};
pub use proxy::TestProxy;
pub use server::{Asked, Reply, Scripted, TokenServer};
pub use world::{World, until};
