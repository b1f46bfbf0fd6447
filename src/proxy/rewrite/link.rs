//! `Link` (RFC 8288 section 3): several links in one field, each a reference in angle brackets and its parameters. `anchor`
//! is a reference too; relation types that look like URLs are names.

use std::ops::Range;

use super::reference::Names;

/// The field as the caller has to read it; `None` where nothing in it names the origin.
pub(super) fn rewritten(names: &Names<'_>, text: &[u8]) -> Option<Vec<u8>> {
    let mut rewriter = Rewriter { names, text, out: Vec::new(), copied: 0 };
    let mut at = 0;
    while at < text.len() {
        at = skip(text, at, |byte| matches!(byte, b' ' | b'\t' | b','));
        if text.get(at) == Some(&b'<') {
            let Some(end) = find(text, at + 1, b'>') else { break };
            rewriter.reference(at + 1..end, b'>');
            at = end + 1;
        }
        at = rewriter.parameters(at);
    }
    rewriter.finish()
}

struct Rewriter<'a> {
    names: &'a Names<'a>,
    text: &'a [u8],
    out: Vec<u8>,
    /// How much of the text is in `out`.
    copied: usize,
}

impl Rewriter<'_> {
    /// Reads to the comma behind this link, or to the end.
    fn parameters(&mut self, mut at: usize) -> usize {
        let mut name = at..at;
        while let Some(byte) = self.text.get(at) {
            match byte {
                b',' => return at,
                b';' => name = at + 1..at + 1,
                b'=' => {
                    name.end = at;
                    at = skip(self.text, at + 1, |byte| matches!(byte, b' ' | b'\t'));
                    if self.text.get(at) != Some(&b'"') {
                        continue;
                    }
                    let end = self.end_of_quoted(at);
                    let is_anchor = self.text[name.clone()].trim_ascii().eq_ignore_ascii_case(b"anchor");
                    if is_anchor && !self.text[at..end].contains(&b'\\') {
                        self.reference(at + 1..end, b'"');
                    }
                    at = end;
                    name = at..at;
                }
                b'"' => at = self.end_of_quoted(at),
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// Where the quoted string that begins here has its other quote; the end of the text if it has none.
    fn end_of_quoted(&self, begin: usize) -> usize {
        let mut at = begin + 1;
        while let Some(byte) = self.text.get(at) {
            match byte {
                b'"' => return at,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.text.len()
    }

    /// Puts another reference in place of this one, if it can stand in front of its delimiter.
    fn reference(&mut self, range: Range<usize>, delimiter: u8) {
        let Some(said) = self.text.get(range.clone()) else { return };
        let inner = said.trim_ascii();
        let Some(rewritten) = self.names.rewritten(inner).filter(|rewritten| !rewritten.contains(&delimiter)) else {
            return;
        };
        let start = range.start + said.len() - said.trim_ascii_start().len();
        self.out.extend_from_slice(&self.text[self.copied..start]);
        self.out.extend_from_slice(&rewritten);
        self.copied = start + inner.len();
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        if self.copied == 0 {
            return None;
        }
        self.out.extend_from_slice(&self.text[self.copied..]);
        Some(self.out)
    }
}

fn skip(text: &[u8], from: usize, what: impl Fn(u8) -> bool) -> usize {
    text[from..].iter().position(|byte| !what(*byte)).map_or(text.len(), |more| from + more)
}

fn find(text: &[u8], from: usize, what: u8) -> Option<usize> {
    text[from..].iter().position(|byte| *byte == what).map(|more| from + more)
}
