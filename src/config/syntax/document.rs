//! One file's text: what it is called, where its lines are, and what paths in it start at.

use std::cell::OnceCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::config::syntax::duplicates::table_at;
use crate::config::syntax::lines::boundary;
use crate::config::syntax::mistakes::{DUPLICATE, Mistake};
use crate::config::syntax::tree::Table;
use crate::config::syntax::unclosed;
use crate::secret::Secret;

/// A text, before it is read.
pub(crate) struct Document {
    /// As it is shown to a person.
    pub(crate) name: String,
    /// It may hold secrets, so it is not left behind in memory.
    text: Secret,
    /// Relative paths in it start here.
    pub(crate) dir: PathBuf,
    /// Where it begins, counted through all files.
    base: usize,
    /// Where its lines begin, once a position is asked for.
    lines: OnceCell<Vec<usize>>,
    /// Lines that are no TOML. What the parser made of them is guesswork, and not worth a second message.
    broken_lines: Vec<usize>,
}

impl Document {
    pub(crate) const fn new(name: String, text: Secret, dir: PathBuf, base: usize) -> Self {
        Self { name, text, dir, base, lines: OnceCell::new(), broken_lines: Vec::new() }
    }

    /// Where the next file begins.
    pub(crate) fn end(&self) -> usize {
        self.base + self.text.expose().len() + 1
    }

    /// Parses the text: what could be read, and the first mistake of each line that could not.
    pub(crate) fn parse(&mut self) -> (Table, Vec<(Option<usize>, Mistake)>) {
        let text = self.text.clone();
        let (tree, errors) = DeTable::parse_recoverable(text.expose());
        let open = if errors.is_empty() { Vec::new() } else { unclosed::unclosed(text.expose()) };
        if open.is_empty() {
            let mistakes = self.mistakes(&text, errors);
            return (Table::of(tree.get_ref(), self.base), mistakes);
        }
        let mut mistakes: Vec<_> = open.iter().map(|open| self.open(&text, open)).collect();
        // The rest is read as if they were closed.
        let Ok(closed) = String::from_utf8(unclosed::without(text.expose(), &open)).map(Secret::new) else {
            return (Table::default(), mistakes);
        };
        let (tree, errors) = DeTable::parse_recoverable(closed.expose());
        mistakes.extend(self.mistakes(&closed, errors));
        (Table::of(tree.get_ref(), self.base), mistakes)
    }

    /// A bracket that is not closed, in lines that are no TOML for it.
    fn open(&mut self, text: &Secret, open: &Range<usize>) -> (Option<usize>, Mistake) {
        let at = self.base + open.start;
        let (first, behind) = (self.position(at).0, self.position(self.base + open.end).0);
        self.broken_lines.extend(first..behind.max(first + 1));
        let swallowed = text.expose().get(open.clone()).unwrap_or_default();
        (Some(at), Mistake::unclosed(swallowed.starts_with('{')))
    }

    fn mistakes(&mut self, text: &Secret, errors: Vec<toml::de::Error>) -> Vec<(Option<usize>, Mistake)> {
        let mut mistakes = Vec::new();
        let mut twice = 0..0;
        for error in errors {
            let at = error.span().map(|span| self.base + span.start);
            let line = at.map_or(0, |at| self.position(at).0);
            // The first error of a line tends to cause the others.
            if at.is_some() && self.broken_lines.contains(&line) {
                continue;
            }
            self.broken_lines.push(line);
            let offset = error.span().map_or(0, |span| span.start);
            if error.message() == DUPLICATE {
                // The keys of a table that stands twice do so, too.
                if twice.contains(&offset) {
                    continue;
                }
                twice = table_at(text.expose(), offset).unwrap_or(0..0);
            }
            mistakes.push((at, Mistake::of(error.message(), text.expose(), offset)));
        }
        mistakes
    }

    pub(crate) const fn begins_before(&self, at: usize) -> bool {
        self.base <= at
    }

    /// True if the text is TOML throughout.
    pub(crate) const fn is_whole(&self) -> bool {
        self.broken_lines.is_empty()
    }

    pub(crate) fn is_broken(&self, line: usize) -> bool {
        self.broken_lines.contains(&line)
    }

    /// Where it was read.
    pub(crate) fn file(&self) -> PathBuf {
        self.path(&Path::new(&self.name).file_name().unwrap_or_default().to_string_lossy())
    }

    pub(crate) fn path(&self, written: &str) -> PathBuf {
        self.dir.join(written)
    }

    /// What tells this content from another.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.text.fingerprint()
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        let text = self.text.expose();
        let at = boundary(text, at.saturating_sub(self.base));
        let ends = || text.match_indices('\n').map(|(end, _)| end + 1);
        let begins = self.lines.get_or_init(|| std::iter::once(0).chain(ends()).collect());
        let line = begins.partition_point(|begin| *begin <= at);
        let in_line = begins.get(line - 1).map_or("", |begin| &text[*begin..at]);
        (line, in_line.trim_start_matches('\u{feff}').chars().count() + 1)
    }
}

/// True if a text has this word somewhere.
pub(crate) fn mentions(text: &Secret, word: &str) -> bool {
    text.expose().contains(word)
}

/// The folder of a file.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "\u{feff}# é\nä = \"ö\" # ü\n";
        let document = Document::new("a".into(), Secret::new(text.into()), PathBuf::new(), 7);
        assert_eq!(document.position(7), (1, 1));
        assert_eq!(document.position(10), (1, 1));
        assert_eq!(document.position(7 + "\u{feff}# é\nä = ".len()), (2, 5));
    }
}
