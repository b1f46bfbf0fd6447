//! The two commands by which `exec --isolate` starts this program again: within the network that it has made, and in front of the
//! command itself. No person calls them, so no help shows them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::output::{Failure, talk, talk_json, talks_json};
use crate::exec::isolate::{self, IsolateError};

/// How they are called.
pub(super) const INSIDE: &str = "isolated";
pub(super) const GATE: &str = "isolated-gate";

#[derive(Debug, Args)]
pub(super) struct InsideArgs {
    /// Stderr has one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Where the outside has left its plan.
    folder: PathBuf,
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// The arguments for [`inside`].
pub(super) fn inside_arguments(folder: &Path, command: &[OsString]) -> Vec<OsString> {
    let json = talks_json().then(|| "--json".into());
    let fixed = [INSIDE.into()].into_iter().chain(json).chain([folder.into(), "--".into()]);
    fixed.chain(command.iter().cloned()).collect()
}

/// Serves the network that this process has been started in, and runs the command there to its end.
pub(super) async fn inside(args: InsideArgs) -> Result<ExitCode, Failure> {
    if args.json {
        talk_json();
    }
    crate::descriptors::raise();
    let say = |sentence: &str| {
        // Without stderr there is nobody to tell.
        drop(talk(format_args!("attache: {sentence}")));
    };
    match isolate::inside(&args.folder, &args.command, GATE, say).await {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(IsolateError::Start(error)) => Err(Failure::Command(error.to_string(), error.exit_code())),
        Err(error) => Err(Failure::failed(error)),
    }
}

#[derive(Debug, Args)]
pub(super) struct GateArgs {
    /// Where the gate is.
    gate: PathBuf,
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Becomes the command, once it is let.
pub(super) fn gate(args: &GateArgs) -> Result<ExitCode, Failure> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::usage("there is no command"));
    };
    let error = isolate::pass(&args.gate, program, arguments);
    Err(Failure::Command(error.to_string(), error.exit_code()))
}
