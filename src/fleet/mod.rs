//! A fleet of replicas that asks the authorization server once: `[cache] shared`.

pub(crate) mod fuzzing;
mod keys;
mod names;
mod news;
mod protocol;
mod scripted;
mod seal;
mod settings;
mod value;

pub(crate) use keys::CacheKey;
pub use scripted::ScriptedStore;
pub(crate) use settings::FleetSettings;
