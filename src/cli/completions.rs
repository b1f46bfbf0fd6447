//! `attache completions`: what a shell needs to complete commands and flags.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::output::{Failure, text};

#[derive(Debug, Args)]
#[command(after_help = "\
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
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "attache", &mut script);
    text(&script)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn every_shell_has_a_script_that_knows_the_commands() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "attache", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["explain", "completions", "token-endpoint", "watch"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
