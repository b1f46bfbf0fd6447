//! The files being read: their texts, what surrounds them, and the problems found so far.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::syntax::document::Document;
use crate::config::syntax::error::{ConfigErrors, Problem, ProblemKind};
use crate::config::syntax::tree::Table;
use crate::config::syntax::written::Written;
use crate::secret::Secret;

/// How environment variables are looked up; a parameter, because tests bring their own environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A file, and those that it includes, on their way to a `Config`. Readers share it and go on after a problem, so that all are
/// found in one go.
pub(crate) struct File<'a> {
    /// The file itself first.
    documents: Vec<Document>,
    pub(crate) environment: Environment<'a>,
    problems: RefCell<Vec<Found>>,
    warnings: RefCell<Vec<Found>>,
    /// Environment variables that hold a secret.
    pub(crate) variables: RefCell<BTreeSet<String>>,
    /// Values of which it has been said that their variable is missing; what readers find besides is no second problem.
    unset: RefCell<HashSet<usize>>,
    /// Texts that are not taken for secrets written into the file: variables were put into them, or they are warned of already.
    pub(crate) substituted: RefCell<HashSet<usize>>,
    /// What the environment has put into values.
    pub(crate) written: Written,
    /// False where nobody is going to use a secret: then it is no problem if one cannot be read.
    pub(crate) secrets_matter: bool,
    /// True where it is enough that the service manager's unit will find its credentials.
    pub(crate) for_unit: bool,
}

/// A problem and the byte where it stands.
type Found = (Option<usize>, Problem);

impl<'a> File<'a> {
    pub(crate) fn new(environment: Environment<'a>, secrets_matter: bool) -> Self {
        Self {
            documents: Vec::new(),
            environment,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            variables: RefCell::default(),
            unset: RefCell::default(),
            substituted: RefCell::default(),
            written: Written::default(),
            secrets_matter,
            for_unit: false,
        }
    }

    /// Parses one more text. Syntax errors become problems; what could be read besides them is in the table.
    pub(crate) fn add(&mut self, name: String, text: Secret, dir: PathBuf) -> Table {
        let base = self.documents.last().map_or(0, Document::end);
        let mut document = Document::new(name, text, dir, base);
        let (table, mistakes) = document.parse();
        self.documents.push(document);
        for (at, mistake) in mistakes {
            let problem = Problem::new(mistake.what, mistake.remedy);
            let problem = match at {
                Some(at) => self.placed(at, problem),
                None => Problem { file: self.documents.last().map(|document| document.name.clone()), ..problem },
            };
            self.problems.get_mut().push((at, problem));
        }
        table
    }

    /// The texts that were read.
    pub(crate) fn documents(&self) -> &[Document] {
        &self.documents
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

    /// Records what a value lacks that was to come from the environment.
    pub(crate) fn unset(&self, at: usize, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.wrong(at, (ProblemKind::Other, key), what, remedy);
        self.unset.borrow_mut().insert(at);
    }

    fn record(&self, at: usize, problem: Problem) {
        let problem = self.placed(at, problem);
        let broken = problem.at.is_some_and(|(line, _)| self.document(at).is_some_and(|text| text.is_broken(line)));
        if !broken && !self.unset.borrow().contains(&at) {
            self.problems.borrow_mut().push((Some(at), problem));
        }
    }

    /// Records that a key is missing; where the syntax is broken it may only have been overlooked.
    pub(crate) fn missing(&self, at: Option<usize>, key: String, remedy: &str) {
        if self.is_whole() {
            let problem = Problem::new("is missing", remedy);
            let problem = Problem { key: Some(key), kind: ProblemKind::Missing, ..problem };
            let problem = match at {
                Some(at) => self.placed(at, problem),
                None => problem,
            };
            self.problems.borrow_mut().push((at, problem));
        }
    }

    /// Records what is allowed but unwise.
    pub(crate) fn warning(&self, at: usize, what: impl Into<String>, remedy: impl Into<String>) {
        let problem = self.placed(at, Problem::new(what, remedy));
        self.warnings.borrow_mut().push((Some(at), problem));
    }

    /// Records what is unwise about a file as a whole.
    pub(crate) fn warn_of_file(&self, name: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let problem = Problem { file: Some(name.to_owned()), ..Problem::new(what, remedy) };
        self.warnings.borrow_mut().push((None, problem));
    }

    /// True if all texts are TOML throughout, so that what is not in the tree is in none of them.
    pub(crate) fn is_whole(&self) -> bool {
        self.documents.iter().all(Document::is_whole)
    }

    /// A path as the file means it that has this byte: relative to the file's own directory.
    pub(crate) fn path(&self, at: usize, written: &str) -> PathBuf {
        self.document(at).map_or_else(|| PathBuf::from(written), |document| document.path(written))
    }

    /// A place in words: `conf.d/a.toml:3:1`.
    pub(crate) fn place(&self, at: usize) -> String {
        let Some(document) = self.document(at) else { return String::new() };
        let (line, column) = document.position(at);
        format!("{}:{line}:{column}", document.name)
    }

    /// All problems and all warnings, in the order of the files.
    pub(crate) fn into_findings(self) -> (Vec<Problem>, Vec<Problem>) {
        let in_order = |found: RefCell<Vec<Found>>| {
            let mut found = found.into_inner();
            found.sort_by_key(|(at, _)| *at);
            found.into_iter().map(|(_, problem)| problem).collect()
        };
        (in_order(self.problems), in_order(self.warnings))
    }

    fn placed(&self, at: usize, problem: Problem) -> Problem {
        let Some(document) = self.document(at) else { return problem };
        let included = self.documents.first().is_some_and(|first| first.name != document.name);
        let file = included.then(|| document.name.clone());
        Problem { at: Some(document.position(at)), file, ..problem }
    }

    /// The text that has this byte.
    fn document(&self, at: usize) -> Option<&Document> {
        let after = self.documents.partition_point(|document| document.begins_before(at));
        self.documents.get(after.saturating_sub(1))
    }
}

/// More than any configuration has, or any list of certificates.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// What a regular file holds. Opening a pipe may wait for ever, and a device may never end.
pub(crate) fn read_regular(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    if std::fs::metadata(path)?.is_file() {
        read_bounded(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }
}

/// What a file of any kind holds, up to a bound.
fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(bytes)
}

/// The text of a regular file.
pub(crate) fn read_regular_text(path: &Path) -> io::Result<Secret> {
    let bytes = read_regular(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Secret::new(text.to_owned()))
}

/// The text of the file that attache is started with, which may be a pipe of the shell's. It may hold secrets, so it is not left
/// behind in memory.
pub(crate) fn read_text(path: &Path) -> Result<Secret, ConfigErrors> {
    use std::io::ErrorKind;
    let failed = |what: String, remedy: &str| ConfigErrors {
        source: path.display().to_string(),
        problems: vec![Problem::new(what, remedy)],
    };
    let bytes = read_bounded(path).map_err(|error| {
        let what = format!("the configuration file cannot be read: {error}");
        let remedy = match error.kind() {
            ErrorKind::NotFound => "name a file with --config or ATTACHE_CONFIG, or write one with `attache init`",
            ErrorKind::PermissionDenied => {
                "let this user read the file and enter its folders, or name another with --config"
            }
            ErrorKind::IsADirectory => "name a file in it with --config",
            _ => "name another file with --config or ATTACHE_CONFIG",
        };
        failed(what, remedy)
    })?;
    std::str::from_utf8(&bytes).map(|text| Secret::new(text.to_owned())).map_err(|_invalid| {
        // PowerShell's `>` and editors that call it "Unicode" begin so.
        let is_wide = [[0xff, 0xfe], [0xfe, 0xff]].iter().any(|mark| bytes.starts_with(mark));
        let what = if is_wide {
            "the configuration file is UTF-16, which some editors call Unicode"
        } else {
            "the configuration file is no text in UTF-8"
        };
        failed(what.to_owned(), "save it as UTF-8, or name another with --config")
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
        let mut file = File::new(&|_| None, true);
        file.add("proxy.toml".into(), Secret::new(text.into()), PathBuf::new());
        file.into_findings().0
    }

    #[test]
    fn several_syntax_errors_are_found_at_once() {
        let problems = syntax_problems("[admin]\naddress = localhost\nopen == true\naddress = \"x\"\n");
        let lines: Vec<_> = problems.iter().map(|problem| problem.at.unwrap().0).collect();
        assert_eq!(lines, [2, 3, 4]);
        assert_eq!(problems[0].at, Some((2, 11)));
        assert_eq!(problems[0].remedy, "write address = \"…\"");
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
}
