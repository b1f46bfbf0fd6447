//! Reads one table of the file and notices what nobody asked for.

use crate::config::syntax::file::File;
use crate::config::syntax::tree::{Node, Placed, Table};
use crate::config::syntax::value::Value;
use crate::config::syntax::words::{listed, nearest, shortened};

/// One table. Ask it for every key it may have, then call [`finish`](Self::finish).
pub(crate) struct TableReader<'a> {
    pub(crate) file: &'a File<'a>,
    /// `upstreams.orders`; empty for the file itself.
    pub(crate) path: String,
    /// Where the table stands.
    pub(crate) at: usize,
    table: &'a Table,
    known: Vec<&'static str>,
    ignored: Vec<&'static str>,
    belonging: Vec<(&'static str, &'static str)>,
    missing: Vec<(&'static str, String)>,
}

impl<'a> TableReader<'a> {
    pub(crate) const fn new(file: &'a File<'a>, path: String, at: usize, table: &'a Table) -> Self {
        Self {
            file,
            path,
            at,
            table,
            known: Vec::new(),
            ignored: Vec::new(),
            belonging: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// A table that stands as a value, to be read key by key.
    pub(crate) fn from_value(value: &Value<'a>) -> Option<Self> {
        match value.node {
            Node::Table(table) => Some(Self::new(value.file, value.path.clone(), value.at, table)),
            _ => value.wrong_type("a table", &format!("write [{}] above its keys, or {{ key = value }}", value.path)),
        }
    }

    pub(crate) fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        #[cfg(test)]
        crate::config::testing::note_key(&self.path, key);
        let entry = self.table.get(key)?;
        Some(self.value(key, &entry.value))
    }

    /// The value of a key that has to be there; `remedy` says what to write.
    pub(crate) fn required(&mut self, key: &'static str, remedy: impl Into<String>) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.missing(key, remedy);
        }
        value
    }

    /// Reports a key that has to be there and is not, unless it turns out to be there misspelt.
    pub(crate) fn missing(&mut self, key: &'static str, remedy: impl Into<String>) {
        self.missing.push((key, remedy.into()));
    }

    /// A table below this one, if it is there.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Self> {
        Self::from_value(&self.get(key)?)
    }

    /// True if the key is in the file, whatever its value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// True if the key is in the file with nothing in its value: a blank text, or a list without entries.
    pub(crate) fn is_blank(&self, key: &str) -> bool {
        match self.table.get(key).map(|entry| &entry.value.node) {
            Some(Node::String(text)) => text.trim().is_empty(),
            Some(Node::Array(entries)) => entries.is_empty(),
            _ => false,
        }
    }

    /// Keys that are known but not looked at, because a problem with another key explains them.
    pub(crate) fn ignore(&mut self, keys: &[&'static str]) {
        self.ignored.extend(keys);
    }

    /// Keys that are good only beside `setting`, such as `kind = "basic"`, where nobody asked for them.
    pub(crate) fn belonging(&mut self, keys: &[&'static str], setting: &'static str) {
        self.belonging.extend(keys.iter().map(|key| (*key, setting)));
    }

    /// Every key with its value in the file's order, for tables whose keys are names: `(name, its place, value)`.
    pub(crate) fn entries(&self) -> Vec<(&'a str, usize, Value<'a>)> {
        let mut entries: Vec<_> =
            self.table.iter().map(|(key, entry)| (key.as_str(), entry.at, self.value(key, &entry.value))).collect();
        entries.sort_by_key(|(_, at, _)| *at);
        entries
    }

    /// Reports the keys that nobody asked for, and the ones that were missing.
    pub(crate) fn finish(self) {
        let mut meant = Vec::new();
        for (key, at, _) in self.entries() {
            // Below a table header that could not be read, keys seem to stand at the top of the file.
            let astray = self.path.is_empty() && !self.file.is_whole();
            if astray || self.known.contains(&key) || self.ignored.contains(&key) {
                continue;
            }
            let place = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) };
            if let Some((key, setting)) = self.belonging.iter().find(|(belongs, _)| *belongs == key) {
                let what = format!("`{key}`{place} belongs to {setting}");
                self.file.problem(at, what, format!("write {setting} beside it, or remove the key"));
                continue;
            }
            let what = format!("unknown key `{}`{place}", shortened(key));
            let remedy = if let Some(near) = nearest(key, self.known.iter().copied()) {
                meant.push(near);
                format!("did you mean `{near}`?")
            } else {
                format!("the keys here are {}", listed(&self.known))
            };
            self.file.problem(at, what, remedy);
        }
        for (key, remedy) in self.missing.iter().filter(|(key, _)| !meant.contains(key)) {
            let at = (!self.path.is_empty()).then_some(self.at);
            self.file.missing(at, self.dotted(key), remedy);
        }
    }

    fn value(&self, key: &str, placed: &'a Placed) -> Value<'a> {
        Value { file: self.file, path: self.dotted(key), at: placed.at, node: &placed.node }
    }

    fn dotted(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{}", self.path, shortened(key)) }
    }
}

/// Puts a value that was given in the place of its default.
pub(crate) fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{problems, with_credential};

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_known_key() {
        let found = problems("[listeners.proxy]\naddres = \"127.0.0.1:0\"\nmode = \"forward\"\n");
        assert_eq!(found, ["proxy.toml:2:1: unknown key `addres` in [listeners.proxy]; did you mean `address`?"]);
        let found = problems("colour = 1\n[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n");
        assert!(found[0].starts_with("proxy.toml:1:1: unknown key `colour`; the keys here are `listeners`"));
    }

    #[test]
    fn a_known_key_is_listed_once() {
        let found = problems(&with_credential("client_secret = { env = \"SECRET\" }\nzzzzzz = 1"));
        let mut keys: Vec<&str> = found[0].split('`').skip(3).step_by(2).collect();
        let listed = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), listed, "{found:#?}");
    }
}
