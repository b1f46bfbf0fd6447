//! The questions of `attache init`. They are the marked values of the starter; an answer that `check` would refuse is asked
//! for again.

use std::io::BufRead;

use crate::cli::output::{BOLD, Failure, ask, talk};
use crate::config::{Draft, PROVIDERS, Provider, Question, SecretPlace};

/// Asks on stderr, reads the answers from `input`.
///
/// # Errors
/// When the input ends before the last answer.
pub(super) fn interview(preset: Option<Provider>, input: &mut impl BufRead) -> Result<Draft, Failure> {
    talk(format_args!(
        "A few questions. Enter keeps what stands in brackets; Ctrl-C ends it, and nothing is written."
    ))?;
    let preset = if preset.is_some() { preset } else { provider(input)? };
    let mut draft = Draft::new(preset);
    for question in draft.questions() {
        answered(&mut draft, &question, input)?;
    }
    let name = named(&mut draft, input)?;
    secret(&mut draft, preset, &name, input)?;
    until_right(input, "Where programs with HTTP_PROXY connect", "127.0.0.1:8080", &mut draft, |draft, answer| {
        draft.answer_address(answer);
    })?;
    Ok(draft)
}

fn provider(input: &mut impl BufRead) -> Result<Option<Provider>, Failure> {
    let known = PROVIDERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    loop {
        let answer = line(input, &format!("The provider: {known}, or another"), "another")?;
        match answer.map(|answer| answer.to_ascii_lowercase()).as_deref() {
            None | Some("another" | "other" | "none") => return Ok(None),
            Some(answer) => match PROVIDERS.iter().find(|(name, _)| *name == answer) {
                Some((_, provider)) => return Ok(Some(*provider)),
                None => talk(format_args!("  that is none of them; Enter for another"))?,
            },
        }
    }
}

/// One of the starter's marked values. Kept as it is, it stays marked.
fn answered(draft: &mut Draft, question: &Question, input: &mut impl BufRead) -> Result<(), Failure> {
    let Question { table, key, about, example } = question;
    let is_endpoint = key == "token_endpoint";
    let words = if is_endpoint { "the token endpoint, or the issuer".to_owned() } else { about.clone() };
    loop {
        let Some(answer) = line(input, &format!("{key}: {words}"), example)? else { return Ok(()) };
        let mut changed = draft.clone();
        // Both are URLs; most token endpoints say what they are.
        let is_issuer = is_endpoint
            && !answer.contains("token")
            && yes(input, "Is that the issuer, so that the endpoint is looked up there?")?;
        changed.answer(table, if is_issuer { "issuer" } else { key }, &answer);
        if accepted(&changed)? {
            *draft = changed;
            return Ok(());
        }
    }
}

fn named(draft: &mut Draft, input: &mut impl BufRead) -> Result<String, Failure> {
    loop {
        let default = draft.name_by_origin();
        let answer = line(input, "A name for it, in metrics and messages", &default)?.unwrap_or(default);
        match name(&answer) {
            Ok(name) => {
                draft.answer_name(&name);
                return Ok(name);
            }
            Err(remedy) => talk(format_args!("  {remedy}"))?,
        }
    }
}

/// Stricter than the file, where a name may have a dot between quotes.
pub(super) fn name(text: &str) -> Result<String, String> {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(usual) {
        return Ok(text.to_owned());
    }
    Err("write 1 to 64 letters (a to z), digits, \"_\" or \"-\"".to_owned())
}

fn secret(draft: &mut Draft, preset: Option<Provider>, name: &str, input: &mut impl BufRead) -> Result<(), Failure> {
    if preset == Some(Provider::Google) {
        let answer = line(input, "The key file of the service account", "service-account.json")?;
        draft.answer_secret(&SecretPlace::File(answer.unwrap_or_else(|| "service-account.json".to_owned()).into()));
        return Ok(());
    }
    // Never the secret itself: it would stand in the terminal's history.
    let variable = format!("{}_CLIENT_SECRET", name.to_ascii_uppercase().replace('-', "_"));
    let answer =
        line(input, "Where the client's secret is: the name of an environment variable, or a file", &variable)?;
    let answer = answer.unwrap_or(variable);
    let is_name = answer.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    draft.answer_secret(&if is_name { SecretPlace::Env(answer) } else { SecretPlace::File(answer.into()) });
    Ok(())
}

fn until_right(
    input: &mut impl BufRead,
    question: &str,
    default: &str,
    draft: &mut Draft,
    put: impl Fn(&mut Draft, &str),
) -> Result<(), Failure> {
    loop {
        let Some(answer) = line(input, question, default)? else { return Ok(()) };
        let mut changed = draft.clone();
        put(&mut changed, &answer);
        if accepted(&changed)? {
            *draft = changed;
            return Ok(());
        }
    }
}

/// Says what `check` would say.
fn accepted(draft: &Draft) -> Result<bool, Failure> {
    let Err(errors) = draft.check() else { return Ok(true) };
    for problem in &errors.problems {
        talk(format_args!("  {problem}"))?;
    }
    Ok(false)
}

fn yes(input: &mut impl BufRead, question: &str) -> Result<bool, Failure> {
    let answer = line(input, question, "no")?;
    Ok(answer.is_some_and(|answer| matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes")))
}

/// One answer; `None` for the default.
fn line(input: &mut impl BufRead, question: &str, default: &str) -> Result<Option<String>, Failure> {
    ask(format_args!("{question} {BOLD}[{default}]{BOLD:#}: "))?;
    let mut text = String::new();
    if input.read_line(&mut text).map_err(Failure::failed)? == 0 {
        return Err(Failure::failed("the answers end here; nothing is written"));
    }
    let text = text.trim();
    Ok((!text.is_empty() && text != default).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafted(preset: Option<Provider>, answers: &str) -> Result<String, Failure> {
        interview(preset, &mut answers.as_bytes()).map(|draft| draft.text())
    }

    #[test]
    fn a_whole_interview_leaves_nothing_to_change() {
        let text =
            drafted(None, "\nhttps://id.test/t/token\nme\nhttps://api.things.test\n\nTHE_SECRET\nlocalhost:3128\n")
                .unwrap();
        for shown in
            ["[upstreams.things]", "\"https://id.test/t/token\"", "{ env = \"THE_SECRET\" }", "\"localhost:3128\""]
        {
            assert!(text.contains(shown), "{shown}: {text}");
        }
        assert!(!text.contains("<--"), "{text}");
    }

    #[test]
    fn a_wrong_answer_is_asked_for_again_and_an_issuer_is_told_apart() {
        let text = drafted(None, "wrong\n\nhttp://id.test/token\nhttps://id.test\nyes\nme\nnot an origin\nhttps://a.test\nb b\nb\n./the secret\n\n")
            .unwrap();
        for shown in
            ["issuer         = \"https://id.test\"", "[credentials.b]", "{ file = \"./the secret\" }", "127.0.0.1:8080"]
        {
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }

    #[test]
    fn what_is_not_answered_stays_marked() {
        let text = drafted(Some(Provider::Okta), "\n\n\n\n\n\n\n").unwrap();
        assert_eq!(text.matches("# <--").count(), 4, "{text}");
        assert!(text.contains("Change the values marked with <--, then:"), "{text}");
    }

    #[test]
    fn answers_that_end_too_early_write_nothing() {
        assert!(
            matches!(drafted(None, "\nhttps://id.test/token\n"), Err(Failure::Failed(message)) if message.contains("nothing is written"))
        );
    }
}
