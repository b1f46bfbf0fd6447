//! `exec --isolate`: a program in a network of its own, in which nothing is but attache (Linux).
//!
//! ```text
//! attache exec                     outside: the proxy, its listeners on unix sockets of a private folder
//!  └ unshare … attache isolated    a network and mounts of its own: names, ports and the way out (`inside`)
//!     └ unshare … attache isolated-gate    a user namespace of its own, without a right to any of that (`gate`)
//!        └ the program, as the user that it would be without
//! ```
//!
//! - `way`: which namespaces this system lets the user have, and what to do if none;
//! - `plan`: what the outside tells the inside;
//! - `network`: addresses and routes, by `ip`: every address is this machine's, so that none leads anywhere else;
//! - `files`: where programs look up how names are resolved;
//! - `names`, `resolver`: names of upstreams have addresses, no others have;
//! - `ports`, `socks`: what is dialled there goes to attache, which is told the name;
//! - `strays`: what is dialled otherwise is noticed, and `remarks` says it once.

mod error;
mod files;
mod gate;
mod inside;
mod names;
mod network;
mod plan;
mod ports;
mod remarks;
mod resolver;
mod socks;
mod strays;
mod way;

pub(crate) use error::IsolateError;
pub(crate) use gate::pass;
pub(crate) use inside::inside;
pub(crate) use plan::{Door, Plan};
pub(crate) use way::{Way, way};
