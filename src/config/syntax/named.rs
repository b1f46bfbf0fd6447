//! What is looked up by its name. A lookup hashes: thousands of tables refer to each other.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;

/// Tables in the file's order, by name.
pub(crate) struct Named<T> {
    tables: Vec<T>,
    places: HashMap<String, usize>,
}

impl<T> Named<T> {
    pub(crate) fn new(tables: impl Iterator<Item = T>, name: impl Fn(&T) -> &str) -> Self {
        let tables: Vec<T> = tables.collect();
        let places = tables.iter().enumerate().map(|(place, table)| (name(table).to_owned(), place)).collect();
        Self { tables, places }
    }

    pub(crate) fn named(&self, name: &str) -> Option<&T> {
        self.places.get(name).and_then(|place| self.tables.get(*place))
    }

    pub(crate) fn named_mut(&mut self, name: &str) -> Option<&mut T> {
        self.places.get(name).and_then(|place| self.tables.get_mut(*place))
    }

    pub(crate) fn into_tables(self) -> Vec<T> {
        self.tables
    }
}

impl<T> Deref for Named<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.tables
    }
}

/// The names of a section in the file's order, also of tables that could not be read.
#[derive(Default)]
pub(crate) struct Names<'a> {
    all: Vec<&'a str>,
    known: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    pub(crate) fn push(&mut self, name: &'a str) {
        self.all.push(name);
        self.known.insert(name);
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.known.contains(name)
    }
}

impl<'a> Deref for Names<'a> {
    type Target = [&'a str];

    fn deref(&self) -> &[&'a str] {
        &self.all
    }
}
