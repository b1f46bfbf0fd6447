//! The questions of `attache init`. They are the values of the starter that only the user knows; an answer that `check`
//! would refuse is asked for again.

use std::io::BufRead;

use url::Url;

use super::prompt::{line, yes};
use super::secret_place::{Told, told};
use crate::cli::output::{Failure, talk};
use crate::config::{Draft, Enter, PROVIDERS, Provider, Question, SecretFile, SecretPlace};

/// Asks on stderr, reads the answers from `input`.
///
/// # Errors
/// When the input ends before the last answer.
pub(super) fn interview(preset: Option<Provider>, input: &mut impl BufRead) -> Result<Draft, Failure> {
    talk(format_args!(
        "A few questions; the people who run the API know the answers. Enter takes what stands in brackets; Ctrl-C ends it, and \
         nothing is written."
    ))?;
    let preset = if preset.is_some() { preset } else { provider(input)? };
    let mut draft = Draft::new(preset);
    for question in draft.questions() {
        answered(&mut draft, &question, input)?;
    }
    named(&mut draft, input)?;
    secret(&mut draft, input)?;
    address(&mut draft, input)?;
    Ok(draft)
}

fn provider(input: &mut impl BufRead) -> Result<Option<Provider>, Failure> {
    let known = PROVIDERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    loop {
        let answer = line(input, &format!("Who issues the tokens: {known}, or another"), "another")?;
        match answer.map(|answer| answer.to_ascii_lowercase()).as_deref() {
            None | Some("another" | "other" | "none") => return Ok(None),
            Some(answer) => match PROVIDERS.iter().find(|(name, _)| *name == answer) {
                Some((_, provider)) => return Ok(Some(*provider)),
                None => talk(format_args!("  that is none of them; Enter for another"))?,
            },
        }
    }
}

/// One of the starter's values. An example that is kept stays marked.
fn answered(draft: &mut Draft, question: &Question, input: &mut impl BufRead) -> Result<(), Failure> {
    let Question { table, key, about, .. } = question;
    let is_endpoint = key == "token_endpoint";
    let about = if is_endpoint { "the URL that issues tokens, or the server's own (the issuer)" } else { about };
    loop {
        let enter = draft.enter(question);
        let shown = match &enter {
            Enter::Example(text) | Enter::Value(text) => text.as_str(),
            Enter::Nothing => "none",
        };
        let answer = match (line(input, &format!("{key}: {about}"), shown)?, enter) {
            (None, Enter::Example(_) | Enter::Nothing) => return Ok(()),
            (None, Enter::Value(value)) => value,
            (Some(answer), Enter::Nothing) if answer == "none" => return Ok(()),
            (Some(answer), _) => answer,
        };
        let mut changed = draft.clone();
        match issuer_in(&answer).filter(|_| is_endpoint) {
            Some((issuer, is_likely)) if yes(input, "Is the token endpoint to be looked up there?", is_likely)? => {
                changed.answer(table, "issuer", issuer);
            }
            _ => changed.answer(table, key, &answer),
        }
        if accepted(&changed)? {
            *draft = changed;
            return Ok(());
        }
    }
}

/// The issuer that a URL may be, and whether it hardly can be a token endpoint.
fn issuer_in(url: &str) -> Option<(&str, bool)> {
    const METADATA: [&str; 2] = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];
    if let Some(issuer) = METADATA.iter().find_map(|path| url.strip_suffix(path)) {
        return Some((issuer, true));
    }
    let parsed = Url::parse(url).ok()?;
    let has_no_path = matches!(parsed.path(), "" | "/");
    // Most token endpoints say what they are.
    (has_no_path || !parsed.path().contains("token")).then_some((url, has_no_path))
}

fn named(draft: &mut Draft, input: &mut impl BufRead) -> Result<(), Failure> {
    loop {
        let enter = draft.name();
        let answer = line(input, "A name for it, in metrics and messages", &enter)?.unwrap_or(enter);
        match name(&answer) {
            Ok(name) => {
                draft.answer_name(&name);
                return Ok(());
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

/// Never the secret itself: it would stand in the file.
fn secret(draft: &mut Draft, input: &mut impl BufRead) -> Result<(), Failure> {
    let variable = draft.variable();
    let file = draft.secret_file();
    let (question, way_out) = match file {
        Some(SecretFile::ServiceAccount) => (
            "The key file of the service account",
            "name the key file that Google made (./NAME for one that will be there later)".to_owned(),
        ),
        Some(SecretFile::PlatformToken) => (
            "The file in which the platform keeps its token",
            "name the file that the platform writes (./NAME for one that will be there later)".to_owned(),
        ),
        None => (
            "Where the client's secret is: the name of an environment variable, or a file",
            format!(
                "put it into {variable}, or into a file, and write that name (./NAME for a file that will be there later)"
            ),
        ),
    };
    let enter = file.map_or_else(|| SecretPlace::Env(variable.clone()), |file| SecretPlace::File(file.usual().into()));
    let shown = file.map_or(variable.as_str(), |file| file.usual());
    let place = loop {
        let Some(answer) = line(input, question, shown)? else { break enter };
        match told(&answer) {
            Told::NoFileYet(path) => {
                if yes(input, "There is no such file yet. Is it the path of one that will hold the secret?", false)? {
                    break SecretPlace::File(path);
                }
            }
            // It is what was proposed.
            Told::NotSetYet(name) if name == variable && file.is_none() => break enter,
            Told::NotSetYet(name) if file.is_none() => {
                if yes(input, "No such variable is set here. Is it the name of one that will hold the secret?", false)?
                {
                    break SecretPlace::Env(name);
                }
            }
            Told::NotSetYet(_) => talk(format_args!("  there is no file of that name; {way_out}"))?,
            Told::Unknown => talk(format_args!(
                "  there is no variable and no file of that name. If that is the secret itself, it does not belong here: \
                 {way_out}"
            ))?,
            known => match known.place() {
                Some(SecretPlace::Env(_)) if file.is_some() => {
                    talk(format_args!("  there is no file of that name; {way_out}"))?;
                }
                Some(place) => break place,
                None => {}
            },
        }
    };
    draft.answer_secret(&place);
    Ok(())
}

fn address(draft: &mut Draft, input: &mut impl BufRead) -> Result<(), Failure> {
    loop {
        let Some(answer) = line(input, "Where programs with HTTP_PROXY connect", "127.0.0.1:8080")? else {
            return Ok(());
        };
        let mut changed = draft.clone();
        changed.answer_address(&answer);
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

#[cfg(test)]
#[path = "interview_tests.rs"]
mod tests;
