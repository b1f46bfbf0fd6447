//! `attache ca trust` and `attache ca untrust`: the CA into the stores of the system and of this user's browsers, and out again.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use tokio::io::AsyncWriteExt as _;

use super::configured::configured;
use super::stores::{Change, Step, Wish, databases, nss, system};
use crate::cli::config_arg::ConfigArg;
use crate::cli::output::{Failure, data, talk};
use crate::exec::{tool, tool_command};
use crate::tls::{AuthorityCertificate, trust_store};

/// A program that makes bundles runs the hooks of others, such as Java's.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo attache ca trust                    the system's store
  attache ca trust --nss                   Chromium and Firefox of this user
  attache ca trust --dry-run               the steps, and nothing is done

Knows the stores of Debian, Ubuntu, Alpine, Fedora, RHEL, Arch and openSUSE, and NSS databases. From then
on every program that reads them takes whatever this CA signs: guard its key, or narrow it beforehand
(attache ca init --constrain). attache ca untrust undoes it.")]
pub(super) struct TrustArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The system's store alone; it takes root.
    #[arg(long)]
    system: bool,
    /// The NSS databases of this user alone.
    #[arg(long, conflicts_with = "system")]
    nss: bool,
    /// Print the steps, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// The root of another system, such as an image that is being made; its store alone.
    #[arg(long, value_name = "DIR", conflicts_with = "nss")]
    root: Option<PathBuf>,
}

/// Changes every store that is there. One that cannot be changed keeps no other back, and is a failure in the end.
pub(super) async fn change(args: TrustArgs, wish: Wish) -> Result<(), Failure> {
    let (_, authority) = configured(&args.config.path()?)?;
    let short: String = authority.fingerprint().chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    let short = short.to_ascii_lowercase();
    let changes = changes(&args, wish, &short)?;
    let certificate = pem(&authority);
    let mut failed = false;
    for Change { store, steps, is_the_systems } in &changes {
        data(format_args!("{store}"))?;
        for step in steps {
            data(format_args!("  {step}"))?;
            if args.dry_run {
                continue;
            }
            if let Err(error) = perform(step, &certificate).await {
                talk(format_args!("error: {}", sentence(&error, *is_the_systems)))?;
                failed = true;
                break;
            }
        }
    }
    match (failed, args.dry_run) {
        (true, _) => Err(Failure::Told),
        (false, true) => talk(format_args!("nothing is done: --dry-run")),
        (false, false) => Ok(()),
    }
}

/// What there is to do, in the order in which it is done.
fn changes(args: &TrustArgs, wish: Wish, short: &str) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    if !args.nss {
        // The programs change into folders of their own.
        let root = args.root.as_ref().map(std::path::absolute).transpose().map_err(Failure::failed)?;
        changes.extend(system(wish, &format!("attache-{short}"), root.as_deref()));
        if changes.is_empty() && (args.system || args.root.is_some()) {
            return Err(Failure::failed(
                "the system has no store that is known: no ca-certificates, ca-trust or trust-source; \
                 `attache ca show` says what else programs read",
            ));
        }
    }
    if !args.system && args.root.is_none() {
        changes.extend(of_browsers(args, wish, short)?);
    }
    if changes.is_empty() {
        return Err(Failure::failed(
            "there is no store that is known, neither the system's nor an NSS database of this user; \
             `attache ca show` says what else programs read",
        ));
    }
    Ok(changes)
}

fn of_browsers(args: &TrustArgs, wish: Wish, short: &str) -> Result<Vec<Change>, Failure> {
    if let Some(user) = std::env::var("SUDO_USER").ok().filter(|_| !args.nss) {
        talk(format_args!("for the browsers of {user}: `attache ca trust --nss` as that user"))?;
        return Ok(Vec::new());
    }
    let Some(home) = std::env::home_dir() else { return Ok(Vec::new()) };
    if databases(&home).is_empty() {
        return Ok(Vec::new());
    }
    let Some(certutil) = tool("certutil") else {
        let missing = "this user has NSS databases (Chromium, Firefox), and certutil, which changes them, is missing: \
                       install libnss3-tools (Debian, Ubuntu) or nss-tools (Fedora, Alpine)";
        if args.nss {
            return Err(Failure::failed(missing));
        }
        talk(format_args!("warning: {missing}; they stay as they are"))?;
        return Ok(Vec::new());
    };
    Ok(nss(wish, &format!("attache {short}"), &home, &certutil))
}

fn pem(authority: &AuthorityCertificate) -> String {
    trust_store::pem_bundle([authority.der()])
}

/// Why a step was not done.
enum Undone {
    File(PathBuf, io::Error),
    Start(PathBuf, io::Error),
    /// What it said last.
    Ended(PathBuf, String),
    Silent(PathBuf),
}

async fn perform(step: &Step, certificate: &str) -> Result<(), Undone> {
    match step {
        Step::Write(path) => write(path, certificate).map_err(|error| Undone::File(path.clone(), error)),
        Step::Remove(path) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Undone::File(path.clone(), error)),
            _gone => Ok(()),
        },
        Step::Run { program, args, with_certificate } => {
            let stdin = if *with_certificate { certificate } else { "" };
            run(program, args, stdin).await
        }
    }
}

/// Readable by everybody, whatever the umask: the programs that read it are those of others.
fn write(path: &Path, certificate: &str) -> io::Result<()> {
    std::fs::write(path, certificate)?;
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    Ok(())
}

async fn run(program: &Path, args: &[String], stdin: &str) -> Result<(), Undone> {
    let failed = |error| Undone::Start(program.to_owned(), error);
    let mut command = tool_command(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read it says itself what it lacks.
        let _closed = pipe.write_all(stdin.as_bytes()).await;
    }
    let ended = tokio::time::timeout(RUN_TIMEOUT, child.wait_with_output()).await;
    let output = ended.map_err(|_elapsed| Undone::Silent(program.to_owned()))?.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gives no reason");
    Err(Undone::Ended(program.to_owned(), last.chars().filter(|letter| !letter.is_control()).take(300).collect()))
}

fn sentence(undone: &Undone, is_the_systems: bool) -> String {
    match undone {
        Undone::File(path, error) if is_the_systems && error.kind() == io::ErrorKind::PermissionDenied => format!(
            "{} may be changed by root alone: sudo attache ca trust, or --nss for this user's browsers alone",
            path.display()
        ),
        Undone::File(path, error) => format!("{} cannot be changed: {error}", path.display()),
        Undone::Start(program, error) => format!("{} does not start: {error}", program.display()),
        Undone::Ended(program, said) => format!("{} failed: {said}", program.display()),
        Undone::Silent(program) => {
            format!("{} did not end within {}", program.display(), humantime::format_duration(RUN_TIMEOUT))
        }
    }
}
