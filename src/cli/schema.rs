//! `attache schema`: every key of proxy.toml, for editors or as a page.

use clap::{Args, ValueEnum};

use super::output::{Failure, data, text};
use crate::config;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache schema > proxy.schema.json      and as the first line of proxy.toml: #:schema ./proxy.schema.json")]
pub(super) struct SchemaArgs {
    /// What is printed.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// JSON schema, draft 2020-12.
    Json,
    /// The reference page.
    Markdown,
}

pub(super) fn schema(args: &SchemaArgs) -> Result<(), Failure> {
    match args.format {
        Format::Json => {
            let pretty = serde_json::to_string_pretty(&config::json_schema()).map_err(Failure::failed)?;
            data(format_args!("{pretty}"))
        }
        Format::Markdown => text(config::reference_page().as_bytes()),
    }
}
