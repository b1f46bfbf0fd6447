//! Secrets: where they come from, and whether they are there. Never what they are.

use std::time::Duration;

use crate::config::syntax::error::ProblemKind;
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::tree::Node;
use crate::config::syntax::value::Value;
use crate::config::syntax::words::listed;
use crate::config::tables::secret_file;
use crate::secret::{Secret, SecretSource, Secrets};

const REMEDY: &str = "write { env = \"NAME\" }, { file = \"path\" } or { command = [\"program\", \"argument\"] }";

/// The keys that name a place, and what may stand beside them.
const PLACES: [&str; 4] = ["env", "file", "credential", "command"];

/// How long a program may take unless told otherwise.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// A secret that can be read now: a text, `{ env = … }`, `{ file = … }`, `{ credential = … }`; or `{ command = … }`, which
/// is not run before it is needed.
///
/// No message of this file repeats anything that the table holds, not even a misspelt key.
pub(crate) fn secret(value: &Value<'_>) -> Option<SecretSource> {
    readable(value, read(value, Plain::Secret)?, Plain::Secret)
}

/// One secret, or a list of them that are tried in order. In a list it is enough that one can be read.
pub(crate) fn secrets(value: &Value<'_>) -> Option<Secrets> {
    one_or_several(value, Plain::Secret)
}

/// A PEM: a plain text is a path, unless it is the PEM itself.
pub(crate) fn pem(value: &Value<'_>) -> Option<SecretSource> {
    readable(value, read(value, Plain::PathOrPem)?, Plain::PathOrPem)
}

/// As [`pem`], or a list of them.
pub(crate) fn pems(value: &Value<'_>) -> Option<Secrets> {
    one_or_several(value, Plain::PathOrPem)
}

/// What a plain text means.
#[derive(Clone, Copy)]
enum Plain {
    Secret,
    PathOrPem,
}

fn one_or_several(value: &Value<'_>, plain: Plain) -> Option<Secrets> {
    if !matches!(value.node, Node::Array(_)) {
        return readable(value, read(value, plain)?, plain).map(Secrets::one);
    }
    let entries = value.list()?;
    let sources: Vec<Option<SecretSource>> = entries.iter().map(|entry| read(entry, plain)).collect();
    let sources: Vec<SecretSource> = sources.into_iter().collect::<Option<_>>()?;
    let found: Vec<Option<String>> =
        entries.iter().zip(&sources).map(|(entry, source)| absence(entry, source)).collect();
    let none = found.iter().all(Option::is_some);
    for ((entry, source), what) in entries.iter().zip(&sources).zip(found) {
        let Some(what) = what else {
            doubted(entry, source, plain);
            continue;
        };
        if none {
            entry.wrong::<()>(what, "one of the list has to be there when attache starts");
        } else {
            entry.file.warning(entry.at, format!("`{}`: an entry {what}", entry.path), "the others are used instead");
        }
    }
    if none { None } else { Secrets::new(sources) }
}

fn read(value: &Value<'_>, plain: Plain) -> Option<SecretSource> {
    match (value.node, plain) {
        (Node::String(text), _) if text.trim().is_empty() => value.wrong("is an empty secret", REMEDY),
        // A key that was written here: as a path it would be repeated in the message that there is no such file.
        (Node::String(text), Plain::PathOrPem) if is_no_path(text) => value.wrong(
            "holds a key itself, in a form that is not read here",
            "write it into a file and name that, or write { env = \"NAME\" }; a PEM begins with -----BEGIN",
        ),
        (Node::String(text), Plain::PathOrPem) if !text.trim_start().starts_with("-----BEGIN") => {
            Some(SecretSource::File(value.file.path(value.at, text)))
        }
        (Node::String(text), _) => {
            if !value.file.substituted.borrow().contains(&value.at) {
                let what = format!("`{}`: the secret is written into the file", value.path);
                value.file.warning(value.at, what, "write { env = \"NAME\" } or { file = \"path\" } instead");
            }
            Some(SecretSource::Literal(Secret::new(text.as_str().to_owned())))
        }
        (Node::Table(_), _) => named(value),
        (Node::Array(_), _) => value.wrong("is a list of secrets where one has to stand", REMEDY),
        _ => value.wrong_type("a secret", REMEDY),
    }
}

/// True for what is hardly the name of a file, and may be a secret: several lines, JSON, a PEM that does not begin at its
/// beginning.
fn is_no_path(text: &str) -> bool {
    let pem = text.trim_start().starts_with("-----BEGIN");
    !pem && (text.contains(['\n', '{']) || text.contains("-----") || text.len() > 1024)
}

/// The source itself, if it can be read now.
fn readable(value: &Value<'_>, source: SecretSource, plain: Plain) -> Option<SecretSource> {
    let Some(what) = absence(value, &source) else {
        doubted(value, &source, plain);
        return Some(source);
    };
    let remedy = match innermost(&source) {
        SecretSource::File(path) if path.components().any(|part| part.as_os_str() == "~") => {
            "write the whole path: `~` is not put in the place of the home directory"
        }
        SecretSource::Env(_) => "set it before attache starts, or write { file = \"path\" }",
        SecretSource::Credential(_) => "name one that the unit loads with LoadCredential=",
        _ => "name a file that attache may read and that holds the secret",
    };
    // The message points at the place, inside the table.
    place_of(value).as_ref().unwrap_or(value).wrong_as(ProblemKind::Unreadable, what, remedy)
}

/// What names the place, inside the table.
fn place_of<'a>(value: &Value<'a>) -> Option<Value<'a>> {
    let table = if value.node.is_table() { TableReader::from_value(value) } else { None };
    table?.entries().into_iter().find(|(key, ..)| PLACES.contains(key)).map(|(_, _, inner)| inner)
}

/// The place as a message may name it, and where its name stands.
fn shown_place(value: &Value<'_>, source: &SecretSource) -> (usize, SecretSource) {
    let at = place_of(value).map_or(value.at, |place| place.at);
    let written = &value.file.written;
    let shown = match source.clone() {
        SecretSource::File(path) => SecretSource::File(written.shown_path(at, &path).into()),
        SecretSource::Env(name) => SecretSource::Env(written.shown(at, &name)),
        SecretSource::Credential(name) => SecretSource::Credential(written.shown(at, &name)),
        SecretSource::Field { of, path } => SecretSource::Field { of: Box::new(shown_place(value, &of).1), path },
        other @ (SecretSource::Literal(_) | SecretSource::Command { .. }) => other,
    };
    (at, shown)
}

/// Why a secret cannot be read now, as the end of a sentence. A program is not run for that.
fn absence(value: &Value<'_>, source: &SecretSource) -> Option<String> {
    if source.is_command() || !value.file.secrets_matter {
        return None;
    }
    let (at, shown) = shown_place(value, source);
    if is_left_to_unit(value, source) {
        let what = format!("`{}` names {}, which can only be read by the unit", value.path, innermost(&shown));
        let name = place_name(&shown);
        value.file.warning(
            at,
            what,
            format!("have the unit load it: LoadCredential={name}:/etc/attache/{name}.secret"),
        );
        return None;
    }
    if let SecretSource::Env(name) = innermost(source) {
        let shown = innermost(&shown);
        match (value.file.environment)(name) {
            None => return Some(format!("names {shown}, which is not set")),
            Some(content) if content.trim().is_empty() => {
                return Some(format!("names {shown}, which is empty"));
            }
            // The environment of a test is not the process's.
            Some(_) => return None,
        }
    }
    // The error names the place by what it really is.
    let (real, fit) = (place_name(source), place_name(&shown));
    source.read().err().map(|error| format!("cannot be used: {}", error.to_string().replace(&real, &fit)))
}

/// True of a systemd credential, where none are here and it is enough that the unit has them.
pub(crate) fn is_left_to_unit(value: &Value<'_>, source: &SecretSource) -> bool {
    value.file.for_unit && matches!(innermost(source), SecretSource::Credential(_)) && !SecretSource::is_in_unit()
}

/// Warns of a file that others may read, and of what stands around the secret, which is sent with it. Not of the latter in a PEM:
/// its reader knows what belongs to it.
fn doubted(value: &Value<'_>, source: &SecretSource, plain: Plain) {
    let (at, shown) = shown_place(value, source);
    // A certificate may be read by everybody.
    if matches!(plain, Plain::Secret) || held(value, source).is_some_and(|secret| secret.has_private_key()) {
        secret_file::warn(value, at, source);
    }
    let Plain::Secret = plain else { return };
    if let Some(doubt) = held(value, source).and_then(|secret| secret.doubt()) {
        let what = format!("`{}`: the secret in {shown} {doubt}, which is sent as a part of it", value.path);
        value.file.warning(value.at, what, "take that away where the secret is kept, unless it belongs to it");
    }
}

/// What the place holds now, without running a program for it. `None` also where that does not matter.
pub(crate) fn held(value: &Value<'_>, source: &SecretSource) -> Option<Secret> {
    if source.is_command() || !value.file.secrets_matter {
        return None;
    }
    match source {
        // The environment of a test is not the process's.
        SecretSource::Env(name) => {
            let text = (value.file.environment)(name)?;
            SecretSource::Literal(Secret::new(text)).read().ok()
        }
        SecretSource::Field { of, .. } if matches!(**of, SecretSource::Env(_)) => None,
        source => source.read().ok(),
    }
}

/// What it is called itself: a path, a name.
fn place_name(source: &SecretSource) -> String {
    match innermost(source) {
        SecretSource::File(path) => path.display().to_string(),
        SecretSource::Credential(name) => name.clone(),
        other => other.to_string(),
    }
}

fn innermost(source: &SecretSource) -> &SecretSource {
    match source {
        SecretSource::Field { of, .. } => innermost(of),
        other => other,
    }
}

fn named(value: &Value<'_>) -> Option<SecretSource> {
    let table = TableReader::from_value(value)?;
    let entries = table.entries();
    let places: Vec<_> = entries.iter().filter(|(key, ..)| PLACES.contains(key)).collect();
    let command = places.iter().any(|(key, ..)| *key == "command");
    let beside = |key: &str| PLACES.contains(&key) || key == "field" || (key == "timeout" && command);
    if let Some((_, at, _)) = entries.iter().find(|(key, ..)| !beside(key)) {
        let what = format!("`{}` has a key that names no place", value.path);
        value.file.problem(*at, what, format!("write one of {}", listed(&PLACES)));
        return None;
    }
    let [(key, _, inner)] = places.as_slice() else {
        return value.wrong("has to name exactly one place", REMEDY);
    };
    let beside = |wanted: &str| entries.iter().find(|(key, ..)| *key == wanted).map(|(_, _, inner)| inner);
    let source = match *key {
        "env" => environment(inner)?,
        "credential" => credential(inner)?,
        "command" => {
            let timeout = beside("timeout").map_or(Some(COMMAND_TIMEOUT), Value::duration)?;
            SecretSource::Command { argv: words(inner)?, timeout }
        }
        _ => SecretSource::File(inner.file.path(inner.at, inner.text()?)),
    };
    match beside("field") {
        None => Some(source),
        Some(path) => Some(SecretSource::Field { of: Box::new(source), path: path.text()?.to_owned() }),
    }
}

/// The program and its arguments; a path to it starts at the file's directory.
fn words(value: &Value<'_>) -> Option<Vec<String>> {
    const FORM: &str = "write [\"program\", \"argument\"]; no shell reads it";
    let Node::Array(_) = value.node else { return value.wrong_type("a list", FORM) };
    let mut words: Vec<String> =
        value.list()?.iter().map(|word| word.text().map(str::to_owned)).collect::<Option<_>>()?;
    if let Some(program) = words.first_mut()
        && program.contains('/')
    {
        *program = value.file.path(value.at, program).display().to_string();
    }
    Some(words)
}

fn credential(value: &Value<'_>) -> Option<SecretSource> {
    let name = value.text()?;
    if name.contains('/') || name == "." || name == ".." {
        return value.wrong("is not the name of a credential", "write the name that LoadCredential= gives it");
    }
    Some(SecretSource::Credential(name.to_owned()))
}

fn environment(value: &Value<'_>) -> Option<SecretSource> {
    let name = value.text()?;
    let usual = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !usual || name.starts_with(|first: char| first.is_ascii_digit()) {
        return value.wrong(
            "is not the name of an environment variable",
            "write a name of letters, digits and _; the secret itself belongs into that variable, and not here",
        );
    }
    value.file.variables.borrow_mut().insert(name.to_owned());
    value.file.written.note_secret(name);
    Some(SecretSource::Env(name.to_owned()))
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
