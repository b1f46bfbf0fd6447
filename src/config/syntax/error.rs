//! Problems of a file, all at once.

use std::fmt;

/// One problem: where, what is wrong, what to write instead. Never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line and column from 1; `None` where the file as a whole is meant.
    pub at: Option<(usize, usize)>,
    /// The file that it is in, if that is not the configuration file itself but one that it includes.
    pub file: Option<String>,
    /// The one key that it is about, from the top of the file: `upstreams.orders.origin`.
    pub key: Option<String>,
    pub(crate) kind: ProblemKind,
    /// What is wrong, lower case, no full stop; where there is a key, what is said of it.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

/// What is wrong with a key, for those who have another remedy for it than the file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    Missing,
    /// It is there, and its text is blank.
    Empty,
    /// It has no effect beside the others.
    Unused,
    /// The secret that it names cannot be read now.
    Unreadable,
    /// A listener that other machines reach, without anything that keeps them out.
    OpenToOthers,
    /// A secret would go out in clear.
    Plaintext,
    Other,
}

/// What to write where there is no listener.
pub(crate) const ADD_LISTENER: &str = "add [listeners.proxy] with address = \"127.0.0.1:8080\" and mode = \"forward\"";

impl Problem {
    /// A problem of the whole file, or between its keys.
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { at: None, file: None, key: None, kind: ProblemKind::Other, what: what.into(), remedy: remedy.into() }
    }

    /// What is unwise about a file without `[listeners]`: everything but serving goes without.
    pub(crate) fn no_listeners() -> Self {
        let problem = Self::new("is missing, which `attache run` needs", ADD_LISTENER);
        Self { key: Some("listeners".to_owned()), kind: ProblemKind::Missing, ..problem }
    }

    /// What is unwise about a file that says nothing.
    pub(crate) fn nothing_configured() -> Self {
        Self::new(
            "nothing is configured: no listener, no upstream and no credential",
            "write a file that serves with `attache init`, or name another with --config",
        )
    }

    /// True if it is about this key, or one below it.
    pub(crate) fn is_about(&self, key: &str) -> bool {
        let below = self.key.as_deref().and_then(|own| own.strip_prefix(key));
        below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
    }
}

/// One line without its place: `what is wrong; what to write instead`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "`{key}` ")?;
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// All problems of one file; displays as one line each, `proxy.toml:12:3: what is wrong; what to write instead`.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    /// The name the file is reported under.
    pub source: String,
    /// In the file's order; never empty.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// One line for each of these problems.
    pub fn lines<'a>(source: &'a str, problems: &'a [Problem]) -> impl Iterator<Item = String> + 'a {
        problems.iter().map(move |problem| {
            let file = problem.file.as_deref().unwrap_or(source);
            match problem.at {
                Some((line, column)) => format!("{file}:{line}:{column}: {problem}"),
                None => format!("{file}: {problem}"),
            }
        })
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in Self::lines(&self.source, &self.problems).enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
