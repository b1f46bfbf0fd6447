//! What is no TOML, in words that a person mends it by. Never the text itself: it may hold a secret.

use toml::de::{DeTable, DeValue};

use crate::config::generate::keys::{Form, tables};
use crate::config::syntax::words::shortened;

/// A mistake in the syntax: what is wrong, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl Mistake {
    /// The parser's sentence about the text at this byte, with what the line tells besides.
    pub(crate) fn of(message: &str, text: &str, offset: usize) -> Self {
        let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        if what == "duplicate key" {
            return duplicate(text, offset);
        }
        if let Some(mistake) = unquoted(line_at(text, offset)) {
            return mistake;
        }
        let remedy = match (what, expected) {
            ("string values must be quoted", _) => QUOTES.to_owned(),
            (
                "invalid float" | "invalid integer" | "invalid datetime" | "invalid boolean" | "invalid mantissa"
                | "invalid exponent",
                _,
            ) => QUOTES.to_owned(),
            (_, "" | "nothing") => "check the quotes, brackets and commas here".to_owned(),
            (_, expected) => format!("write {expected} here"),
        };
        Self { what: what.to_owned(), remedy }
    }
}

const QUOTES: &str = "put a text between quotes: \"…\"";

/// The line that holds this byte.
fn line_at(text: &str, offset: usize) -> &str {
    let offset = text.floor_char_boundary(offset);
    // What is not closed is noticed at the line's end.
    let begin = text[..offset].rfind('\n').map_or(0, |end| end + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |end| offset + end);
    &text[begin..end]
}

/// `key = value` whose value is a text without quotes. The value is shown if it is one of the words that the key knows: any
/// other may be a secret.
fn unquoted(line: &str) -> Option<Mistake> {
    let (left, right) = line.split_once('=')?;
    let key = left.trim().rsplit('.').next()?.trim();
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let value = right.split('#').next()?.trim();
    let first = value.chars().next()?;
    if !is_key || !(first.is_alphanumeric() || matches!(first, '/' | '.' | '$' | '~' | ':' | '*')) {
        return None;
    }
    // An opening quote further on is no text that lacks both.
    if value.contains(['"', '\'']) {
        return None;
    }
    let tables = tables();
    let mut known = tables.iter().flat_map(|table| &table.keys).filter(|known| known.name == key).peekable();
    if let Some(right) = ["true", "false"].into_iter().find(|right| value.eq_ignore_ascii_case(right)) {
        let what = "true and false are written in small letters".to_owned();
        return Some(Mistake { what, remedy: format!("write {key} = {right}") });
    }
    let remedy = if known.peek().is_none() {
        QUOTES.to_owned()
    } else {
        let word = known.flat_map(|known| &known.forms).find_map(|form| match form {
            Form::Word(word) if *word == value => Some(*word),
            _ => None,
        });
        format!("write {key} = \"{}\"", word.unwrap_or("…"))
    };
    Some(Mistake { what: "text stands between quotes".to_owned(), remedy })
}

/// The key or table that is there already, and where.
fn duplicate(text: &str, offset: usize) -> Mistake {
    let mistake = |what: String| Mistake { what, remedy: "keep one of the two".to_owned() };
    let Some(path) = path_at(text, offset) else { return mistake("duplicate key".to_owned()) };
    let shown = shortened(&path.join("."));
    // Of two the parser keeps the later one, so what stands before it is read by itself.
    let offset = text.floor_char_boundary(offset);
    let before = &text[..text[..offset].rfind('\n').map_or(0, |end| end + 1)];
    let (tree, _errors) = DeTable::parse_recoverable(before);
    match first_place(tree.get_ref(), &path) {
        Some(first) => mistake(format!("duplicate key: `{shown}` stands in line {} already", line_number(text, first))),
        None => mistake(format!("duplicate key: `{shown}` stands here twice")),
    }
}

/// The whole path of the key that a line writes, from the header above it.
fn path_at(text: &str, offset: usize) -> Option<Vec<String>> {
    let line = line_at(text, offset);
    if line.trim_start().starts_with('[') {
        return keys_of(&format!("{line}\n"));
    }
    let above = text[..text.floor_char_boundary(offset)].lines().rev();
    let header = above.map(str::trim_start).find(|line| line.starts_with('['));
    let mut path = header.map_or_else(|| Some(Vec::new()), |header| keys_of(&format!("{header}\n")))?;
    path.extend(keys_of(&format!("{} = 0\n", line.split_once('=')?.0))?);
    Some(path)
}

/// The keys of a text with one path in it, by the parser.
fn keys_of(text: &str) -> Option<Vec<String>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut path = Vec::new();
    let mut table = errors.is_empty().then_some(tree.get_ref());
    while let Some((key, value)) = table.and_then(|table| table.iter().next()) {
        path.push(key.get_ref().as_ref().to_owned());
        table = value.get_ref().as_table();
    }
    Some(path).filter(|path| !path.is_empty())
}

/// Where a path was written first.
fn first_place(tree: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let (last, tables) = path.split_last()?;
    let mut table = tree;
    for name in tables {
        table = match table.get(name.as_str())?.get_ref() {
            DeValue::Table(table) => table,
            _ => return None,
        };
    }
    table.get_key_value(last.as_str()).map(|(key, _)| key.span().start)
}

fn line_number(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use crate::config::testing::problems;

    fn first(text: &str) -> String {
        problems(text).remove(0)
    }

    #[test]
    fn a_text_without_quotes_is_shown_with_them_if_it_is_a_word_of_its_key() {
        for (written, remedy) in [
            ("mode = forward", "mode = \"forward\""),
            ("mode = reverse # base URL", "mode = \"reverse\""),
            ("mode = sentinel", "mode = \"…\""),
            ("address = 127.0.0.1:8080", "address = \"…\""),
            ("address = localhost", "address = \"…\""),
            ("upstream = true-ish", "upstream = \"…\""),
        ] {
            let found = first(&format!("[listeners.a]\n{written}\n"));
            assert!(
                found.ends_with(&format!("text stands between quotes; write {remedy}"))
                    && found.starts_with("proxy.toml:2:"),
                "{found}"
            );
        }
        assert!(first("[limits]\ndrain = 10s\n").ends_with("write drain = \"…\""));
        assert!(first("[telemetry]\nserver_timing = True\n").ends_with("write server_timing = true"));
        let found = first("[credentials.a]\nclient_secret = sentinel\n");
        assert!(found.ends_with("write client_secret = \"…\"") && !found.contains("sentinel"), "{found}");
    }

    #[test]
    fn what_stands_twice_is_named_with_its_first_place() {
        let found = first("[admin]\naddress = \"127.0.0.1:1\"\naddress = \"127.0.0.1:2\"\n");
        assert_eq!(
            found,
            "proxy.toml:3:1: duplicate key: `admin.address` stands in line 2 already; keep one of the two"
        );
        let found = first("[upstreams.a]\norigin = \"https://a.test\"\n\n[upstreams.a]\norigin = \"https://b.test\"\n");
        assert!(
            found.starts_with("proxy.toml:4:") && found.contains("`upstreams.a` stands in line 1 already; "),
            "{found}"
        );
        let found = first("[limits]\n[admin]\n[limits]\n");
        assert!(found.contains("`limits` stands in line 1 already; "), "{found}");
    }
}
