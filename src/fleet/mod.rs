//! A fleet of replicas that asks the authorization server once: `[cache] shared`.

mod names;
mod protocol;
mod settings;

pub(crate) use settings::FleetSettings;
