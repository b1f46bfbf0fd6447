//! `attache completions`: what a shell needs to complete commands, flags and names of the configuration.

use clap::{Args, Command};
use clap_complete::Shell;

use super::completed_names::with_names;
use super::output::{Failure, text};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bash        attache completions bash > ~/.local/share/bash-completion/completions/attache
  zsh         attache completions zsh > ~/.zfunc/_attache      with ~/.zfunc in $fpath
  fish        attache completions fish > ~/.config/fish/completions/attache.fish
  powershell  attache completions powershell >> $PROFILE
  elvish      attache completions elvish >> ~/.config/elvish/rc.elv")]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints the script: it is meant for a file.
pub(super) fn completions(args: &CompletionsArgs, commands: &Command) -> Result<(), Failure> {
    text(&script(args.shell, commands))
}

pub(super) fn script(shell: Shell, commands: &Command) -> Vec<u8> {
    let mut commands = listed(commands);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut commands, "attache", &mut script);
    with_names(shell, &String::from_utf8_lossy(&script), &commands).into_bytes()
}

/// Without what `--help` does not list: the generators would offer it.
fn listed(commands: &Command) -> Command {
    let listed = Command::new("attache").version(env!("CARGO_PKG_VERSION")).args(commands.get_arguments().cloned());
    listed.subcommands(commands.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}
