//! Which values came from the environment, and how they were written: a message shows `${NAME}` and not what it stands for, which
//! may be a secret at the wrong key.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::syntax::words::shortened;

/// What the environment has put into the values of a configuration.
#[derive(Default)]
pub(crate) struct Written {
    /// By where the value stands.
    values: RefCell<HashMap<usize, Origin>>,
    /// Where a variable was read for what is no secret: the place, the key, the variable.
    plain: RefCell<Vec<(usize, String, String)>>,
    /// Variables read for the places of secrets: a file's path, the words of a program.
    arguments: RefCell<BTreeSet<String>>,
    /// Variables that are secrets themselves.
    secret: RefCell<BTreeSet<String>>,
}

/// A value that variables were put into.
struct Origin {
    written: String,
    text: Zeroizing<String>,
}

impl Written {
    /// Notes that this text was made of what was written there.
    pub(crate) fn note(&self, at: usize, written: &str, text: &str) {
        let origin = Origin { written: written.to_owned(), text: Zeroizing::new(text.to_owned()) };
        self.values.borrow_mut().insert(at, origin);
    }

    /// Notes variables that were read for what is no secret.
    pub(crate) fn note_plain<'n>(&self, at: usize, key: &str, names: impl Iterator<Item = &'n str>) {
        self.plain.borrow_mut().extend(names.map(|name| (at, key.to_owned(), name.to_owned())));
    }

    /// Notes variables that were read for the place of a secret.
    pub(crate) fn note_arguments<'n>(&self, names: impl Iterator<Item = &'n str>) {
        self.arguments.borrow_mut().extend(names.map(str::to_owned));
    }

    /// Notes a variable that is a secret.
    pub(crate) fn note_secret(&self, name: &str) {
        self.secret.borrow_mut().insert(name.to_owned());
    }

    /// True if the value came from the environment, wholly or in part.
    pub(crate) fn has(&self, at: usize) -> bool {
        self.values.borrow().contains_key(&at)
    }

    /// The value at this place, fit for a message.
    pub(crate) fn shown(&self, at: usize, value: &str) -> String {
        self.values.borrow().get(&at).map_or_else(|| shortened(value), |origin| shortened(&origin.written))
    }

    /// A path that ends in the value at this place, fit for a message.
    pub(crate) fn shown_path(&self, at: usize, path: &Path) -> String {
        let shown = path.display().to_string();
        match self.values.borrow().get(&at) {
            Some(origin) => match shown.strip_suffix(origin.text.as_str()) {
                Some(folder) => format!("{folder}{}", origin.written),
                None => origin.written.clone(),
            },
            None => shown,
        }
    }

    /// Variables that are secrets and were read for what is none: the place, the key, the variable.
    pub(crate) fn exposed(&self) -> Vec<(usize, String, String)> {
        let secret = self.secret.borrow();
        self.plain.borrow().iter().filter(|(.., name)| secret.contains(name)).cloned().collect()
    }

    /// All variables that were read for what is no secret, and those for the places of secrets.
    pub(crate) fn variables(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let plain = self.plain.borrow().iter().map(|(.., name)| name.clone()).collect();
        (plain, self.arguments.borrow().clone())
    }
}
