//! The only place that knows the file format.
//!
//! [`Config::load`] reads `proxy.toml`, checks all of it, and gives plain settings with every default filled in, or
//! **all** the problems of the file at once. `load` has the steps:
//!
//! 1. `files` reads the file and those that it includes, `syntax` takes text, tables and values apart and collects problems with
//!    their place, and `substitution` puts in what the environment has;
//! 2. `tables` knows the keys, one file a table;
//! 3. `checks` holds the tables against each other, and warns of what has no effect;
//! 4. `resolve` turns names into what they name.
//!
//! A key is added in step 2: one line that asks for it, one line in `generate/keys.txt`, and its description in `proxy.toml`;
//! tests hold these against each other. `generate` makes the schema for editors, the page in docs/ and a file to begin with.

mod admin_access;
mod checks;
mod cli_args;
mod files;
mod generate;
mod load;
mod resolve;
mod substitution;
mod syntax;
mod tables;
#[cfg(test)]
mod testing;
mod types;

pub(crate) use cli_args::{AdHocRequest, SecretPlace, SingleUpstream};
pub(crate) use files::watched::ConfigFile;
pub(crate) use generate::draft::{Draft, Enter, Question, SecretFile, step_line};
pub(crate) use generate::manual::page as manual_page;
pub(crate) use generate::reference::markdown as reference_page;
pub use generate::schema::json_schema;
pub use generate::starter::STARTER;
pub use syntax::error::{ConfigErrors, Problem};
pub(crate) use syntax::value::parse_duration;
pub(crate) use tables::credentials::preset::{PROVIDERS, Provider};
pub(crate) use tables::intercept::InterceptPlan;
pub use types::Config;
pub(crate) use types::{ListenerConfig, UpstreamConfig};
