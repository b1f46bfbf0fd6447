//! What the parser found, held apart from the text: tables and values, each with the byte where it stands. A byte counts
//! through all files of a configuration.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

/// Keys with their values.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<String, Entry>);

/// A key of a table.
pub(crate) struct Entry {
    /// Where the key stands.
    pub(crate) at: usize,
    pub(crate) value: Placed,
}

/// A value and where it stands.
pub(crate) struct Placed {
    pub(crate) at: usize,
    pub(crate) node: Node,
}

/// One value.
pub(crate) enum Node {
    /// It may be a secret, so it is not left behind in memory.
    String(Zeroizing<String>),
    /// Digits without sign of their base, and the base.
    Integer(String, u32),
    Float(String),
    Boolean(bool),
    Date,
    Array(Vec<Placed>),
    Table(Table),
    /// It was to come from the environment, and what is wrong with that has been said.
    Unset,
}

impl Table {
    /// The parser's table, of a text that begins at this byte.
    pub(crate) fn of(table: &DeTable<'_>, base: usize) -> Self {
        let entries = table.iter().map(|(key, value)| {
            // What could not be read at all has no place of its own.
            let span = if value.span().is_empty() { key.span() } else { value.span() };
            let placed = Placed { at: base + span.start, node: Node::of(value.get_ref(), base) };
            (key.get_ref().as_ref().to_owned(), Entry { at: base + key.span().start, value: placed })
        });
        Self(entries.collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.0.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut Entry)> {
        self.0.iter_mut()
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.0.get_mut(key)
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = (String, Entry)> {
        self.0.into_iter()
    }

    pub(crate) fn insert(&mut self, key: String, entry: Entry) {
        self.0.insert(key, entry);
    }

    /// The one key of a table that has no other.
    pub(crate) fn only(&self, key: &str) -> Option<&Entry> {
        self.get(key).filter(|_| self.0.len() == 1)
    }
}

impl Node {
    fn of(value: &DeValue<'_>, base: usize) -> Self {
        match value {
            DeValue::String(text) => Self::text(text.as_ref()),
            DeValue::Integer(number) => Self::Integer(number.as_str().to_owned(), number.radix()),
            DeValue::Float(number) => Self::Float(number.as_str().to_owned()),
            DeValue::Boolean(value) => Self::Boolean(*value),
            DeValue::Datetime(_) => Self::Date,
            DeValue::Array(entries) => {
                let placed = |entry: &toml::Spanned<DeValue<'_>>| Placed {
                    at: base + entry.span().start,
                    node: Self::of(entry.get_ref(), base),
                };
                Self::Array(entries.iter().map(placed).collect())
            }
            DeValue::Table(table) => Self::Table(Table::of(table, base)),
        }
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::String(Zeroizing::new(text.into()))
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(crate) const fn is_str(&self) -> bool {
        matches!(self, Self::String(_))
    }

    pub(crate) const fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    pub(crate) const fn as_table(&self) -> Option<&Table> {
        if let Self::Table(table) = self { Some(table) } else { None }
    }

    pub(crate) const fn is_table(&self) -> bool {
        matches!(self, Self::Table(_))
    }

    /// What it is, in words.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(..) => "a whole number",
            Self::Float(_) => "a fraction",
            Self::Boolean(_) => "a boolean",
            Self::Date => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Unset => "not set",
        }
    }
}
