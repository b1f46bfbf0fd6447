//! The only place that prints, prompts or exits. Data goes to stdout, talk to stderr.

mod admin;
mod ca;
mod check;
mod completed_names;
mod completions;
mod config_arg;
mod demo;
mod env;
mod exec;
mod explain;
mod hidden;
mod init;
#[cfg(target_os = "linux")]
mod isolated;
mod man;
mod man_sections;
mod names;
mod output;
mod run;
mod schema;
mod single;
mod token;
mod trust;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::telemetry;
use crate::telemetry::log::LogFormat;

use self::admin::{actions, log, probes, status, stop, tail};
use self::output::Failure;

/// An HTTP proxy that gives unmodified programs OAuth 2.0 access.
///
/// Point HTTP_PROXY or a base URL at it: each request to a configured upstream leaves with a valid access token, which is
/// obtained, cached, refreshed and, when the upstream answers 401, renewed for it.
#[derive(Debug, Parser)]
#[command(name = "attache", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    /// Before the command too: each reads its own.
    #[command(flatten)]
    _config: config_arg::ConfigArg,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Start here:
  attache demo                 see it work, on parts that it brings along
  attache init                 write a commented proxy.toml
  attache check --live         is it right, and can every token be obtained?
  attache run                  serve
  attache status --watch       what it holds and does
  curl -x http://127.0.0.1:8080 http://orders.example.com/
  attache exec -- CMD          or without a server: around one command

Exit codes: 0 done, 1 failed, 2 usage, 78 configuration; of exec those of its command.";

#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text")]
struct LogArgs {
    /// What is logged on stderr: a level, or targets such as "info,attache::token=debug"; by default info for run, warn for exec,
    /// nothing for the others.
    #[arg(long, global = true, env = "ATTACHE_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look, and whatever else goes to stderr.
    #[arg(long, global = true, env = FORMAT_VARIABLE, value_name = "FORMAT", default_value = "text", value_parser = formats())]
    log_format: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C.
    Run(run::RunArgs),
    /// Run one command with a proxy of its own: HTTP_PROXY and the like are set, secrets stay here.
    Exec(exec::ExecArgs),
    /// Print the variables by which programs find a running proxy, for a shell or a file.
    Env(env::EnvArgs),
    /// Say everything that is wrong with the configuration; with --live, obtain every token once.
    Check(check::CheckArgs),
    /// Say what would happen to a request, and why.
    Explain(explain::ExplainArgs),
    /// Make, show, export or trust the local CA, by which https:// through a proxy gets its tokens.
    Ca(ca::CaArgs),
    /// Obtain one access token and print it.
    Token(token::TokenArgs),
    /// Ask a few questions and write a commented proxy.toml.
    Init(init::InitArgs),
    /// See it work: an authorization server, an API and attache between them.
    Demo(demo::DemoArgs),
    /// Show what a running attache holds and does.
    Status(status::StatusArgs),
    /// Show the requests of a running attache as they end, a line each.
    Tail(tail::TailArgs),
    /// Wait until a running attache is ready, for scripts.
    Wait(probes::WaitArgs),
    /// Ask a running attache once whether it is alive, for container checks.
    Health(probes::HealthArgs),
    /// Have a running attache read its configuration again, and say what is different.
    Reload(actions::ReloadArgs),
    /// Have a running attache obtain a new token of one credential now.
    Refresh(actions::RefreshArgs),
    /// Have a running attache log more, or less, until the next reload; without a filter, say what it logs.
    Log(log::LogArgs),
    /// Have a running attache finish what is in progress and end, and wait for that.
    Stop(stop::StopArgs),
    /// Print the JSON schema of proxy.toml, for editors, or its reference page.
    Schema(schema::SchemaArgs),
    /// Print a script that completes commands, flags and names in a shell.
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(man::ManArgs),
    /// Print the version.
    Version(VersionArgs),
    /// What a configuration calls its parts, for completions.
    #[command(hide = true)]
    Names(names::NamesArgs),
    /// What `exec --isolate` starts in the network of its command.
    #[cfg(target_os = "linux")]
    #[command(name = isolated::INSIDE, hide = true)]
    Isolated(isolated::InsideArgs),
    /// What waits until its user namespace is ready, and becomes the command then.
    #[cfg(target_os = "linux")]
    #[command(name = isolated::GATE, hide = true)]
    IsolatedGate(isolated::GateArgs),
}

#[derive(Debug, Args)]
struct VersionArgs {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything can fail: what is said then is JSON, too.
    if asks_for_json(std::env::args_os(), std::env::var_os(FORMAT_VARIABLE)) {
        output::talk_json();
    }
    report_panics_without_payload();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && output::talks_json() => {
            Failure::usage(error.render()).report();
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(failure) => {
            failure.report();
            failure.code()
        }
    }
}

/// Stands for `--log-format` where that is not given.
const FORMAT_VARIABLE: &str = "ATTACHE_LOG_FORMAT";

/// A variable that is empty is one that is not set.
fn formats() -> [PossibleValue; 3] {
    [PossibleValue::new("text"), PossibleValue::new("json"), PossibleValue::new("").hide(true)]
}

/// True if `--log-format json` is among arguments that have not been read, or may not be readable; else by the variable.
fn asks_for_json(arguments: impl Iterator<Item = OsString>, variable: Option<OsString>) -> bool {
    let arguments: Vec<OsString> = arguments.take_while(|argument| argument != "--").collect();
    let mut said = arguments.iter().enumerate().filter_map(|(at, argument)| {
        let joined = argument.to_str().and_then(|argument| argument.strip_prefix("--log-format="));
        let apart = || (argument == "--log-format").then(|| arguments.get(at + 1)?.to_str())?;
        joined.or_else(apart)
    });
    said.next_back().map_or_else(|| variable.is_some_and(|format| format == "json"), |format| format == "json")
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let usual = match &cli.command {
        Command::Run(_) => "info",
        Command::Exec(_) => "warn",
        _ => "off",
    };
    start_log(&cli.log, usual)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args).await,
            Command::Exec(args) => return exec::exec(args).await,
            #[cfg(target_os = "linux")]
            Command::Isolated(args) => return isolated::inside(args).await,
            #[cfg(target_os = "linux")]
            Command::IsolatedGate(args) => return isolated::gate(&args),
            Command::Env(args) => env::env(&args),
            Command::Ca(args) => ca::ca(args).await,
            Command::Check(args) => check::check(args).await,
            Command::Explain(args) => explain::explain(&args),
            Command::Token(args) => token::token(args).await,
            Command::Init(args) => init::init(&args),
            Command::Demo(args) => demo::run(&args).await.map_err(Failure::failed),
            Command::Status(args) => status::status(args).await,
            Command::Tail(args) => tail::tail(args).await,
            Command::Wait(args) => probes::wait(args).await,
            Command::Health(args) => probes::health(args).await,
            Command::Reload(args) => actions::reload(args).await,
            Command::Refresh(args) => actions::refresh(args).await,
            Command::Log(args) => log::log(args).await,
            Command::Stop(args) => stop::stop(args).await,
            Command::Schema(args) => schema::schema(&args),
            Command::Completions(args) => completions::completions(&args, &Cli::command()),
            Command::Names(args) => names::names(&args),
            Command::Man(args) => man::man(&args, Cli::command()),
            Command::Version(args) => version(&args),
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

/// `run` logs what it does, `exec` what is wrong; the other commands say it themselves. All log what was asked for.
fn start_log(args: &LogArgs, usual: &str) -> Result<(), Failure> {
    let filter = args.log.as_deref().filter(|asked| !asked.trim().is_empty()).unwrap_or(usual);
    let format = if args.log_format == "json" { LogFormat::Json } else { LogFormat::Text };
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    telemetry::log::init(filter, format, colour).map_err(Failure::usage)
}

/// The default hook prints the panic's message, which could quote anything. The place is enough to find it.
fn report_panics_without_payload() {
    const MESSAGE: &str = "an internal error was caught; please report it";
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        if tracing::enabled!(target: "attache", tracing::Level::ERROR) {
            tracing::error!(target: "attache", place, "{MESSAGE}");
        } else {
            output::alarm(MESSAGE, &place);
        }
    }));
}

fn version(args: &VersionArgs) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if args.json {
        // Of the lock file; a library that is built without one does not know them.
        let known = |version: &'static str| (!version.is_empty()).then_some(version);
        return output::json(&serde_json::json!({
            "name": "attache",
            "version": version,
            "commit": option_env!("ATTACHE_COMMIT"),
            "target": env!("ATTACHE_TARGET"),
            "rustls": known(env!("ATTACHE_VERSION_RUSTLS")),
            "aws_lc_rs": known(env!("ATTACHE_VERSION_AWS_LC_RS")),
        }));
    }
    output::data(format_args!("attache {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_in_either_form_and_not_of_the_command_of_exec() {
        let asks = |line: &str, variable: Option<&str>| {
            asks_for_json(line.split(' ').map(Into::into), variable.map(OsString::from))
        };
        assert!(asks("attache run --log-format json --x", None) && asks("attache --log-format=json run", None));
        assert!(
            !asks("attache run --log-format text json", None) && !asks("attache exec -- x --log-format json", None)
        );
        let json = Some("json");
        assert!(
            asks("attache run", json) && !asks("attache run --log-format text", json) && !asks("attache run", None)
        );
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let pages = man::pages(Cli::command()).unwrap();
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = format!("attache-{}.1", command.get_name());
            assert!(names.contains(&name.as_str()), "{name}: {names:?}");
        }
        assert!(names.contains(&"attache.1") && names.contains(&"proxy.toml.5"));
        for page in &pages {
            let roff = String::from_utf8(page.roff.clone()).unwrap();
            assert!(roff.contains(".TH ") && roff.contains(".SH NAME"), "{}", page.name);
        }
    }

    #[test]
    fn every_shell_has_a_script_that_knows_the_commands() {
        use clap::ValueEnum as _;
        for shell in clap_complete::Shell::value_variants() {
            let script = String::from_utf8(completions::script(*shell, &Cli::command())).unwrap();
            for word in ["explain", "completions", "token-endpoint", "watch"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            // The other generators complete no values.
            if matches!(shell, clap_complete::Shell::Bash | clap_complete::Shell::Zsh | clap_complete::Shell::Fish) {
                assert!(script.contains("client_secret_jwt"), "{shell}");
            }
            assert!(!script.contains("isolated"), "{shell} offers what is not listed");
        }
    }
}
