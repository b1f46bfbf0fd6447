//! Problems of a file, all at once.

use std::fmt;

/// One problem: where, what is wrong, what to write instead. Never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line and column from 1; `None` where the file as a whole is meant.
    pub at: Option<(usize, usize)>,
    /// What is wrong, lower case, no full stop.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

/// What to write where there is no listener.
pub(crate) const ADD_LISTENER: &str = "add [listeners.proxy] with address = \"127.0.0.1:8080\" and mode = \"forward\"";

impl Problem {
    /// What is unwise about a file without `[listeners]`: everything but serving goes without.
    #[must_use]
    pub fn no_listeners() -> Self {
        let what = "`listeners` is missing, which `attache run` needs".to_owned();
        Self { at: None, what, remedy: ADD_LISTENER.to_owned() }
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
        problems.iter().map(move |problem| match problem.at {
            Some((line, column)) => format!("{source}:{line}:{column}: {}; {}", problem.what, problem.remedy),
            None => format!("{source}: {}; {}", problem.what, problem.remedy),
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
