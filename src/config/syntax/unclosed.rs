//! Lists and inline tables that nobody closed: the parser only notices where the next key comes, and stumbles on from there.

use std::ops::Range;

use crate::config::generate::keys::tables;

/// How many are looked for: a file that is no TOML at all has any number of brackets.
const MOST: usize = 16;

/// Each bracket that is not closed, with all that was swallowed behind it: up to the line that shows that it is not.
pub(crate) fn unclosed(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut from) = (Vec::new(), 0);
    while found.len() < MOST
        && let Some(open) = text.get(from..).and_then(first)
    {
        let open = from + open.start..from + open.end;
        from = open.end;
        found.push(open);
    }
    found
}

/// The text with the same lines and no such bracket: what is left of them is a number.
pub(crate) fn without(text: &str, unclosed: &[Range<usize>]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for open in unclosed {
        let Some(swallowed) = bytes.get_mut(open.clone()) else { continue };
        for byte in swallowed.iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        if let Some(first) = swallowed.first_mut() {
            *first = b'0';
        }
    }
    bytes
}

/// The first of a text that begins with a line.
fn first(text: &str) -> Option<Range<usize>> {
    let mut scan = Scan { open: Vec::new(), last: b' ', long: None };
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if scan.shows(line) {
            break;
        }
        if !scan.is_header(line) {
            scan.line(line, at);
        }
        at += line.len();
    }
    scan.open.first().map(|(begin, _)| *begin..at)
}

/// What has been opened so far, outside of texts and comments.
struct Scan {
    open: Vec<(usize, u8)>,
    /// What stood last.
    last: u8,
    /// How a text of several lines ends that has begun.
    long: Option<&'static str>,
}

impl Scan {
    /// True if this line shows that what is open should have been closed before it.
    fn shows(&self, line: &str) -> bool {
        if self.long.is_some() {
            return false;
        }
        match self.open.last() {
            None => false,
            Some((_, b'[')) => is_header(line) || is_key(line),
            // An inline table may have several lines, with commas between.
            Some(_) => is_header(line) || (is_key(line) && !matches!(self.last, b'{' | b',')),
        }
    }

    fn is_header(&self, line: &str) -> bool {
        self.open.is_empty() && self.long.is_none() && line.trim_start().starts_with('[')
    }

    fn line(&mut self, line: &str, at: usize) {
        let mut place = 0;
        if let Some(end) = self.long {
            let Some(behind) = line.find(end) else { return };
            (place, self.long) = (behind + end.len(), None);
        }
        while let Some(byte) = line.as_bytes().get(place).copied() {
            let rest = line.get(place..).unwrap_or_default();
            place += 1;
            match byte {
                b'#' => return,
                b'"' | b'\'' => {
                    let long = ["\"\"\"", "'''"].into_iter().find(|quotes| rest.starts_with(quotes));
                    let Some(length) = text_length(rest, long) else {
                        self.long = long;
                        return;
                    };
                    place += length - 1;
                }
                b'[' | b'{' => self.open.push((at + place - 1, byte)),
                b']' | b'}' => drop(self.open.pop()),
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                self.last = byte;
            }
        }
    }
}

/// How long the text is that begins here, with its quotes; `None` if it does not end in this line.
fn text_length(rest: &str, long: Option<&str>) -> Option<usize> {
    if let Some(quotes) = long {
        return rest.get(quotes.len()..)?.find(quotes).map(|end| end + 2 * quotes.len());
    }
    let quote = *rest.as_bytes().first()?;
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let ends = byte == quote && !escaped;
        escaped = byte == b'\\' && quote == b'"' && !escaped;
        ends
    });
    end.map(|end| end + 2)
}

/// `[credentials.orders]`, of a table that there is.
fn is_header(line: &str) -> bool {
    let Some(inside) = line.trim_start().strip_prefix('[') else { return false };
    let end = inside.find(['.', ']']).unwrap_or(inside.len());
    tables().iter().any(|table| table.path.split('.').next() == Some(&inside[..end]))
}

/// `client_id = …`
fn is_key(line: &str) -> bool {
    let Some((key, _)) = line.split_once('=') else { return false };
    let key = key.trim();
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::problems;

    #[test]
    fn what_is_closed_somewhere_is_not_open() {
        for text in [
            "a = [\n  \"x = [\", # [\n  'y',\n]\nb = { c = [1,\n[2]], d = \"\\\"{\" }\n[limits]\n",
            "a = {\n  b = 1,\n  c = 2,\n}\n",
            "[limits]\n[[x]]\n",
            "a = \"\"\"[\n{\nb = [\n\"\"\"\nc = '''['''\n",
            "",
        ] {
            assert!(unclosed(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn each_open_bracket_is_one_message_at_its_line_and_the_rest_is_read() {
        for open in [
            "scope = [",
            "scope = [\"a\",",
            "scope = [\"a\"",
            "parameters = {",
            "parameters = { a = \"b\",",
            "scope = [\n\"a\",\n\"b\"",
        ] {
            let text = format!(
                "[upstreams.a]\norigin = \"https://a.test\"\ncredential = \"a\"\n[credentials.a]\n{open}\n[listeners.l]\n\
                 address = \"127.0.0.1:0\"\nmode = \"froward\"\n"
            );
            let found = problems(&text);
            assert_eq!(found.len(), 2, "{open}: {found:#?}");
            assert!(found[0].starts_with("proxy.toml:5:") && found[0].contains(" is not closed; write "), "{found:#?}");
            assert!(found[1].contains("did you mean \"forward\""), "{found:#?}");
        }
        assert_eq!(problems("[limits]\ndrain = [\nmax = {\n").len(), 2, "each at its line");
    }
}
