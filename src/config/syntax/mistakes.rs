//! What is no TOML, in words that a person mends it by. Never the text itself: it may hold a secret.

use crate::config::generate::keys::{Form, tables};
use crate::config::syntax::duplicates::duplicate;
use crate::config::syntax::lines::{around, line_at};

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
        if what == DUPLICATE {
            let (what, remedy) = (duplicate(text, offset), "keep one of the two".to_owned());
            return Self { what, remedy };
        }
        let line = line_at(text, offset);
        let another = around(text, offset).and_then(|(before, after)| closed_or_escaped(before, after));
        let table =
            header_with_blanks(line).or_else(|| header_without_brackets(line)).or_else(|| two_equals_signs(line));
        if let Some(mistake) = table.or_else(|| unquoted(line)).or_else(|| another_language(line)).or(another) {
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

    /// A list, or an inline table, that is still open where the next key comes.
    pub(crate) fn unclosed(is_table: bool) -> Self {
        let (begin, end) = if is_table { ('{', '}') } else { ('[', ']') };
        Self {
            what: format!("the \"{begin}\" here is not closed"),
            remedy: format!("write \"{end}\" behind its last value"),
        }
    }
}

/// What the parser calls a key or table that is there already.
pub(crate) const DUPLICATE: &str = "duplicate key";

const QUOTES: &str = "put a text between quotes: \"…\"";

/// `[upstreams.my orders]`
fn header_with_blanks(line: &str) -> Option<Mistake> {
    let inside = line.trim().strip_prefix('[')?.split([']', '#']).next()?.trim();
    let (first, name) = inside.split_once('.')?;
    let bare = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(&byte));
    (is_table(first) && bare(name) && name.trim().contains(' ')).then(|| Mistake {
        what: "a name has no blanks in it".to_owned(),
        remedy: format!("choose another, or put it between quotes: [{first}.\"…\"]"),
    })
}

/// `credentials.orders` in a line of its own. What begins like this is no secret.
fn header_without_brackets(line: &str) -> Option<Mistake> {
    let line = line.split('#').next()?.trim().trim_end_matches([':', ']']);
    let (first, name) = line.split_once('.')?;
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (is_table(first) && !name.is_empty() && name.bytes().all(bare))
        .then(|| Mistake { what: "a table has its name in brackets".to_owned(), remedy: format!("write [{line}]") })
}

/// True for `credentials` and its like.
fn is_table(name: &str) -> bool {
    tables().iter().any(|table| table.path.split('.').next() == Some(name))
}

/// `key == value`
fn two_equals_signs(line: &str) -> Option<Mistake> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    (bare && value.starts_with('='))
        .then(|| Mistake { what: "there is one \"=\" too many".to_owned(), remedy: format!("write {key} = …") })
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

/// A line as other formats have it.
fn another_language(line: &str) -> Option<Mistake> {
    let mistake = |what: &str, remedy: String| Some(Mistake { what: what.to_owned(), remedy });
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.starts_with('{') {
        return mistake(
            "this is JSON, and the file has to be TOML",
            "write [listeners.NAME] and key = \"value\", as `attache init` does".to_owned(),
        );
    }
    let end = line.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '-')?;
    let (key, rest) = line.split_at_checked(end)?;
    let rest = rest.trim_start();
    match rest.strip_prefix('=').map(str::trim_start) {
        Some(value) if value.starts_with(['“', '”', '„', '«', '‘', '’']) => {
            mistake("these quotes are typographic ones", format!("write {key} = \"…\", with plain ones"))
        }
        Some(_) => None,
        None if key.is_empty() => None,
        None if rest == ":" => mistake(
            "a table has its name in brackets, and this is as YAML has it",
            "write [listeners.NAME] and key = \"value\", as `attache init` does".to_owned(),
        ),
        None => mistake("a key and its value have \"=\" between them", format!("write {key} = \"…\"")),
    }
}

/// A text between quotes that does not end, or whose backslashes are taken for something else.
fn closed_or_escaped(before: &str, after: &str) -> Option<Mistake> {
    let value = before.split_once('=').map_or(before, |(_, value)| value);
    let in_text = value.matches('"').count() % 2 == 1;
    // The parser stops at most a letter behind the backslash.
    let escapes = after.starts_with('\\') || before.chars().rev().take(2).any(|letter| letter == '\\');
    if in_text && escapes {
        return Some(Mistake {
            what: "a backslash between double quotes stands for something else".to_owned(),
            remedy: "write single quotes instead ('C:\\folder\\file'), or each backslash twice".to_owned(),
        });
    }
    let quote = ['"', '\''].into_iter().find(|quote| value.trim_start().starts_with(*quote))?;
    (after.is_empty() && value.matches(quote).count() == 1).then(|| Mistake {
        what: "the text has no quote at its end".to_owned(),
        remedy: format!("write {quote} there"),
    })
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
    fn other_formats_and_open_texts_are_told_apart() {
        for (text, remedy) in [
            ("mode: \"forward\"\n", "have \"=\" between them; write mode = \"…\""),
            ("mode \"forward\"\n", "have \"=\" between them; write mode = \"…\""),
            ("credentials.orders\n", "a table has its name in brackets; write [credentials.orders]"),
            ("limits.x:\n", "a table has its name in brackets; write [limits.x]"),
            ("[upstreams.my orders]\n", "no blanks in it; choose another, or put it between quotes: [upstreams.\"…\"]"),
            ("[admin]\naddress == \"x\"\n", "proxy.toml:2:10: there is one \"=\" too many; write address = …"),
            ("listeners:\n", "as YAML has it; write [listeners.NAME] and key = \"value\", as `attache init` does"),
            ("{ \"a\": 1 }\n", "has to be TOML; write [listeners.NAME] and key = \"value\", as `attache init` does"),
            ("mode = “forward”\n", "typographic ones; write mode = \"…\", with plain ones"),
            ("mode = \"forward\n", "has no quote at its end; write \" there"),
            ("mode = 'forward\n", "has no quote at its end; write ' there"),
            ("a = \"C:\\Users\"\n", "('C:\\folder\\file'), or each backslash twice"),
            ("a = { b = \"C:\\me\" }\n", "('C:\\folder\\file'), or each backslash twice"),
        ] {
            let found = first(text);
            assert!(found.ends_with(remedy), "{found}");
        }
    }
}
