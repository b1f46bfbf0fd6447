//! The file being read: its text, what surrounds it, and the problems found so far.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::config::syntax::error::{ConfigErrors, Problem, ProblemKind};
use crate::secret::Secret;

/// How environment variables are looked up; a parameter, because tests bring their own environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One file on its way to a `Config`. Readers share it and go on after a problem, so that all are found in one go.
pub(crate) struct File<'a> {
    text: &'a str,
    /// Where its lines begin, once a position is asked for.
    lines: OnceCell<Vec<usize>>,
    /// Relative paths in the file start here.
    dir: &'a Path,
    pub(crate) environment: Environment<'a>,
    /// Lines that are no TOML. What the parser made of them is guesswork, and not worth a second message.
    broken_lines: Vec<usize>,
    problems: RefCell<Vec<Found>>,
    warnings: RefCell<Vec<Found>>,
    /// Environment variables that hold a secret.
    pub(crate) variables: RefCell<BTreeSet<String>>,
    /// False where nobody is going to use a secret: then it is no problem if one cannot be read.
    pub(crate) secrets_matter: bool,
}

/// A problem and the byte where it stands.
type Found = (Option<usize>, Problem);

impl<'a> File<'a> {
    /// Parses the text. Syntax errors become problems; what could be read besides them is in the tree.
    pub(crate) fn parse(text: &'a str, dir: &'a Path, environment: Environment<'a>) -> (Self, DeTable<'a>) {
        let (tree, errors) = DeTable::parse_recoverable(text);
        let mut file = Self {
            text,
            lines: OnceCell::new(),
            dir,
            environment,
            broken_lines: Vec::new(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            variables: RefCell::default(),
            secrets_matter: true,
        };
        for error in errors {
            let at = error.span().map(|span| span.start);
            let position = at.map(|at| file.position(at));
            // The first error of a line tends to cause the others.
            if position.is_some_and(|(line, _)| file.broken_lines.contains(&line)) {
                continue;
            }
            let (what, remedy) = syntax_error(error.message());
            file.problems.get_mut().push((at, Problem { at: position, ..Problem::new(what, remedy) }));
            file.broken_lines.push(position.map_or(0, |(line, _)| line));
        }
        (file, tree.into_inner())
    }

    /// Records what is wrong at this byte, and what to write instead.
    pub(crate) fn problem(&self, at: usize, what: impl Into<String>, remedy: impl Into<String>) {
        self.record(at, Problem::new(what, remedy));
    }

    /// Records what is wrong with a key.
    pub(crate) fn wrong(
        &self,
        at: usize,
        (kind, key): (ProblemKind, &str),
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.record(at, Problem { key: Some(key.to_owned()), kind, ..Problem::new(what, remedy) });
    }

    fn record(&self, at: usize, problem: Problem) {
        let position = self.position(at);
        if !self.broken_lines.contains(&position.0) {
            self.problems.borrow_mut().push((Some(at), Problem { at: Some(position), ..problem }));
        }
    }

    /// Records that a key is missing; where the syntax is broken it may only have been overlooked.
    pub(crate) fn missing(&self, at: Option<usize>, key: String, remedy: &str) {
        if self.is_whole() {
            let position = at.map(|at| self.position(at));
            let problem = Problem::new("is missing", remedy);
            let problem = Problem { at: position, key: Some(key), kind: ProblemKind::Missing, ..problem };
            self.problems.borrow_mut().push((at, problem));
        }
    }

    /// Records what is allowed but unwise.
    pub(crate) fn warning(&self, at: usize, what: impl Into<String>, remedy: impl Into<String>) {
        let problem = Problem { at: Some(self.position(at)), ..Problem::new(what, remedy) };
        self.warnings.borrow_mut().push((Some(at), problem));
    }

    /// True if the text is TOML throughout, so that what is not in the tree is not in the file.
    pub(crate) const fn is_whole(&self) -> bool {
        self.broken_lines.is_empty()
    }

    /// A path as the file means it: relative to the file's own directory.
    pub(crate) fn path(&self, written: &str) -> PathBuf {
        self.dir.join(written)
    }

    /// All problems and all warnings, in the file's order.
    pub(crate) fn into_findings(self) -> (Vec<Problem>, Vec<Problem>) {
        let in_order = |found: RefCell<Vec<Found>>| {
            let mut found = found.into_inner();
            found.sort_by_key(|(at, _)| *at);
            found.into_iter().map(|(_, problem)| problem).collect()
        };
        (in_order(self.problems), in_order(self.warnings))
    }

    /// Line and column of a byte, both from 1; columns count characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let at = self.text.floor_char_boundary(at);
        let ends = || self.text.match_indices('\n').map(|(end, _)| end + 1);
        let begins = self.lines.get_or_init(|| std::iter::once(0).chain(ends()).collect());
        let line = begins.partition_point(|begin| *begin <= at);
        let in_line = begins.get(line - 1).map_or("", |begin| &self.text[*begin..at]);
        (line, in_line.trim_start_matches('\u{feff}').chars().count() + 1)
    }
}

/// The parser's sentence and what to do about it. Only the sentence: the line itself may hold a secret.
fn syntax_error(message: &str) -> (String, String) {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let remedy = match (what, expected) {
        ("duplicate key", _) => "keep one of the two".to_owned(),
        ("string values must be quoted" | "invalid float" | "invalid integer" | "invalid datetime", _) => {
            "put a text between quotes: \"…\"".to_owned()
        }
        (_, "" | "nothing") => "check the quotes, brackets and commas here".to_owned(),
        (_, expected) => format!("write {expected} here"),
    };
    (what.to_owned(), remedy)
}

/// The text of a file. It may hold secrets, so it is not left behind in memory.
pub(crate) fn read_text(path: &Path) -> Result<Secret, ConfigErrors> {
    std::fs::read_to_string(path).map(Secret::new).map_err(|error| {
        let what = format!("the configuration file cannot be read: {error}");
        let remedy = "name a file with --config or ATTACHE_CONFIG, or write one with `attache init`".to_owned();
        ConfigErrors { source: path.display().to_string(), problems: vec![Problem::new(what, remedy)] }
    })
}

/// The environment of this process.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syntax_problems(text: &str) -> Vec<Problem> {
        File::parse(text, Path::new(""), &|_| None).0.into_findings().0
    }

    #[test]
    fn several_syntax_errors_are_found_at_once() {
        let problems = syntax_problems("[admin]\naddress = localhost\nopen == true\naddress = \"x\"\n");
        let lines: Vec<_> = problems.iter().map(|problem| problem.at.unwrap().0).collect();
        assert_eq!(lines, [2, 3, 4]);
        assert_eq!(problems[0].at, Some((2, 11)));
        assert_eq!(problems[0].remedy, "put a text between quotes: \"…\"");
        assert_eq!(problems[2].remedy, "keep one of the two");
    }

    #[test]
    fn syntax_errors_never_repeat_the_text() {
        for text in
            ["s = \"sentinel", "s = sentinel", "s = 'sentinel\n", "s = [\"sentinel", "s = \"\\sentinel\"", "sentinel"]
        {
            let problems = syntax_problems(text);
            assert!(!problems.is_empty(), "{text}");
            assert!(!format!("{problems:?}").contains("sentinel"), "{problems:?}");
        }
    }

    #[test]
    fn columns_count_characters() {
        let (file, _) = File::parse("\u{feff}# é\nä = \"ö\" # ü\n", Path::new(""), &|_| None);
        assert_eq!(file.position(0), (1, 1));
        assert_eq!(file.position(3), (1, 1));
        assert_eq!(file.position("\u{feff}# é\nä = ".len()), (2, 5));
    }
}
