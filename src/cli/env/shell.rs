//! `--shell`: completed by name, taken by path too, so that `--shell "$SHELL"` works.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, Error};

use crate::exec::Notation;

/// What is offered; [`Notation::of_shell`] knows some more.
const SHELLS: [&str; 5] = ["bash", "zsh", "sh", "fish", "powershell"];

#[derive(Debug, Clone)]
pub(super) struct ShellParser;

impl TypedValueParser for ShellParser {
    type Value = Notation;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Notation, Error> {
        StringValueParser::new().try_map(|shell| Notation::of_shell(&shell)).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(SHELLS.iter().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_that_is_offered_is_known() {
        for shell in SHELLS {
            assert!(Notation::of_shell(shell).is_ok(), "{shell}");
        }
    }
}
