//! A fleet of replicas that asks the authorization server once: `[cache] shared`.

mod entry;
pub(crate) mod fuzzing;
mod heartbeat;
mod keys;
mod listen;
mod live;
mod metrics;
mod names;
mod news;
mod protocol;
mod replica;
mod script;
mod scripted;
mod seal;
mod settings;
mod simulated;
mod source;
mod trial;
mod value;

pub(crate) use keys::{CacheKey, CacheKeyError, CacheKeys};
pub(crate) use live::{CacheMetrics, Fleet};
pub(crate) use names::SharedIdentity;
pub(crate) use replica::ReplicaHandle;
pub use scripted::ScriptedStore;
pub(crate) use settings::FleetSettings;
pub use simulated::{SimulatedReplica, SimulatedSettings};
pub(crate) use source::{SharedCredential, WAITING_FOR_OTHERS, shared_cache};
pub(crate) use trial::{Publish, Round, Standing, Trial};
