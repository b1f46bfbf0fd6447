//! One question at the terminal, and its answer.

use std::io::{BufRead, Read as _};

use crate::cli::output::{BOLD, Failure, ask, talk};

/// More than any answer, and not more than a person pastes by accident.
const LONGEST: u64 = 64 * 1024;

/// One answer; `None` for Enter alone.
///
/// # Errors
/// When there are no more answers.
pub(super) fn line(input: &mut impl BufRead, question: &str, enter: &str) -> Result<Option<String>, Failure> {
    ask(format_args!("{question} {BOLD}[{enter}]{BOLD:#}: "))?;
    let mut text = String::new();
    if input.take(LONGEST).read_line(&mut text).map_err(Failure::failed)? == 0 {
        return Err(Failure::failed("the answers end here; nothing is written"));
    }
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// Yes or no.
///
/// # Errors
/// When there are no more answers.
pub(super) fn yes(input: &mut impl BufRead, question: &str, enter: bool) -> Result<bool, Failure> {
    loop {
        let answer = line(input, question, if enter { "yes" } else { "no" })?;
        match answer.map(|answer| answer.to_ascii_lowercase()).as_deref() {
            None => return Ok(enter),
            Some("y" | "yes") => return Ok(true),
            Some("n" | "no") => return Ok(false),
            Some(_) => talk(format_args!("  yes or no?"))?,
        }
    }
}
