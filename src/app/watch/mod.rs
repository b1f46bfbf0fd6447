//! What is looked at while the program runs: the configuration file, secrets, and certificates.

pub(super) mod certificates;
mod changes;
pub(super) mod config_file;
mod reading;
pub(super) mod secrets;
mod waiting;
