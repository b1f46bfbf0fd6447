//! The inside: sets the network up, serves names and ports, and runs the program to its end.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::child::Child;
use super::super::environment::Change;
use super::super::tools::tool;
use super::error::IsolateError;
use super::gate::Gate;
use super::names::Names;
use super::plan::Plan;
use super::ports::Ports;
use super::remarks::Remarks;
use super::resolver::{self, Resolver};
use super::{files, network, strays};
use crate::dial::OriginPattern;

/// How long what the command left running may finish its requests.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs the program to its end in the namespaces that this process has been started in, and gives its exit code. `say` is told
/// where it wants to go in vain; `gate` are the arguments by which this program waits at a gate.
///
/// # Errors
/// When something of it is unavailable; the program has not been started then.
pub(crate) async fn inside(
    folder: &Path,
    command: &[OsString],
    gate: &str,
    say: impl Fn(&str) + Send + Sync + 'static,
) -> Result<u8, IsolateError> {
    let plan = Plan::read(folder).map_err(|error| IsolateError::at("the plan", error))?;
    let origins = plan.origins.iter().map(|origin| origin.parse::<OriginPattern>());
    let names = Arc::new(Names::new(origins.collect::<Result<_, _>>()?, plan.others));
    let remarks = Arc::new(Remarks::new(say));

    network::set_up(plan.user == 0).await?;
    let laid = files::lay_over(folder, resolver::address().ip());
    laid.map_err(|error| IsolateError::at("the files that names are resolved by", error))?;
    let resolver = Resolver { names: Arc::clone(&names), remarks: Arc::clone(&remarks) };
    resolver.start().await.map_err(|error| IsolateError::at("the name server", error))?;
    let strays = strays::watch(&names, &remarks);
    let ports = Ports::new(names, remarks, plan.socks.clone());
    ports.start(plan.doors).await.map_err(|error| IsolateError::at("the ports", error))?;

    let opener = Gate::within(folder).map_err(|error| IsolateError::at("the gate", error))?;
    let child = start(&opener, gate, command)?;
    let id = child.id().unwrap_or_default();
    let mut ended = Box::pin(child.wait());
    let of_child = |error| IsolateError::at("the command", error);
    let code = tokio::select! {
        opened = opener.open(id, plan.user, plan.group) => {
            opened.map_err(|error| IsolateError::at("the command's user namespace", error))?;
            ended.await.map_err(of_child)?
        }
        // It has said why.
        code = &mut ended => code.map_err(of_child)?,
    };
    ports.drain(DRAIN).await;
    strays.finish().await;
    Ok(code)
}

fn start(gate: &Gate, argument: &str, command: &[OsString]) -> Result<Child, IsolateError> {
    let missing = || IsolateError::at("unshare (util-linux)", io::ErrorKind::NotFound.into());
    let unshare = tool("unshare").ok_or_else(missing)?;
    let me = std::env::current_exe().map_err(|error| IsolateError::at("attache itself", error))?;
    let arguments = ["--user".into(), "--".into(), me.into(), argument.into(), gate.socket.clone().into(), "--".into()];
    let arguments = arguments.into_iter().chain(command.iter().cloned());
    let none: [&(String, Change); 0] = [];
    Child::start(unshare.as_os_str(), arguments, none).map_err(Into::into)
}
