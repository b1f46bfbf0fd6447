//! Values from the environment: `${NAME}`, `${NAME:-default}` and `$$` in any text, and `{ env = "NAME" }` for any value, so that
//! one file serves every stage.
//!
//! The tree is walked once, after it is read and before anybody asks it for a key. The table of keys says what each may be,
//! and so what a text has to become: a number, a list, a secret.

mod convert;
mod expand;
mod hints;

use std::collections::HashMap;

use self::convert::{convert, wanted};
use self::expand::{Expanded, Piece, fill, parse};
use self::hints::{Hint, Place};
use crate::config::generate::keys::{Form, tables};
use crate::config::syntax::file::File;
use crate::config::syntax::tree::{Entry, Node, Placed, Table};
use crate::config::syntax::words::shortened;
use crate::secret::is_variable_name;

/// Puts what the environment has into the tree of a file. What it lacks becomes a problem.
pub(super) fn substitute(file: &File<'_>, tree: &mut Table) {
    let tables = tables();
    let keys =
        tables.iter().flat_map(|table| table.keys.iter().map(|key| ((table.path, key.name), key.forms.as_slice())));
    Walk { file, keys: &keys.collect(), in_fields: false }.table("", "", tree);
}

struct Walk<'w> {
    file: &'w File<'w>,
    /// What each key may be, by its table and its name.
    keys: &'w HashMap<(&'static str, &'static str), &'w [Form]>,
    /// Within `parameters` and the like, where any value may be a key.
    in_fields: bool,
}

impl Walk<'_> {
    /// `path` is the table's in the table of keys, `shown` as people write it.
    fn table(&self, path: &str, shown: &str, table: &mut Table) {
        for (key, entry) in table.iter_mut() {
            // Nobody will ask for an unknown key.
            let Some(forms) = self.keys.get(&(path, key.as_str())) else { continue };
            let shown = dotted(shown, &shortened(key));
            self.value(&dotted(path, key), &shown, forms, &mut entry.value);
        }
    }

    fn value(&self, path: &str, shown: &str, forms: &[Form], value: &mut Placed) {
        let has = |form: Form| forms.contains(&form);
        let secret = forms.iter().any(|form| is_secret(*form));
        match &mut value.node {
            Node::String(_) if secret => self.secret(shown, has(Form::Pem) || has(Form::Pems), value),
            Node::String(_) => self.text(shown, forms, Place::Plain, value),
            Node::Table(table) if secret => self.place(shown, table),
            Node::Table(table) if has(Form::Names) => {
                for (name, entry) in table.iter_mut() {
                    if let Node::Table(table) = &mut entry.value.node {
                        self.table(&format!("{path}.*"), &dotted(shown, &shortened(name)), table);
                    }
                }
            }
            Node::Table(table) if has(Form::Fields) || has(Form::RepeatedFields) => {
                let form = if has(Form::Fields) { Form::Text } else { Form::Texts };
                for (name, entry) in table.iter_mut() {
                    self.field(&dotted(shown, &shortened(name)), form, &mut entry.value);
                }
            }
            Node::Table(table) => match variable(table) {
                Some(_) if forms.iter().any(|form| is_value(*form)) => self.variable(shown, forms, value),
                _ => self.table(path, shown, table),
            },
            Node::Array(entries) => {
                let entry_forms: Vec<Form> = forms.iter().filter_map(|form| entry_of(*form)).collect();
                for entry in entries {
                    self.value(path, shown, &entry_forms, entry);
                }
            }
            _ => {}
        }
    }

    /// `parameters` and the like: any names, and values that may be keys.
    fn field(&self, shown: &str, form: Form, value: &mut Placed) {
        let before = value.node.as_str().map(str::to_owned);
        let named = value.node.as_table().and_then(variable).map(str::to_owned);
        Walk { in_fields: true, ..*self }.value("", shown, &[form], value);
        let pieces = before.as_deref().and_then(|text| parse(text).ok()).unwrap_or_default();
        let read = pieces.iter().filter_map(|piece| match piece {
            Piece::Variable { name, .. } => Some((*name).to_owned()),
            Piece::Text(_) => None,
        });
        self.file.variables.borrow_mut().extend(read.chain(named));
    }

    /// A text that is no secret.
    fn text(&self, shown: &str, forms: &[Form], place: Place, value: &mut Placed) {
        let Some(before) = value.node.as_str() else { return };
        let pieces = match parse(before) {
            Ok(pieces) => pieces,
            Err(malformed) => return self.malformed(shown, malformed, value),
        };
        if !has_variable(&pieces) {
            self.hint(shown, before, place, value.at);
            if let Ok(filled) = fill(&pieces, self.file.environment) {
                value.node = Node::String(filled.text);
            }
            return;
        }
        let Expanded { text, read } = match fill(&pieces, self.file.environment) {
            Ok(expanded) => expanded,
            Err(name) => {
                let remedy = format!("set it before attache starts, or write ${{{name}:-default}}");
                self.file.unset(value.at, shown, not_set(name), remedy);
                value.node = Node::Unset;
                return;
            }
        };
        if place == Place::Argument {
            self.file.variables.borrow_mut().extend(read.iter().map(|name| (*name).to_owned()));
            self.file.written.note_arguments(read.iter().copied());
        } else if !self.in_fields {
            self.file.written.note_plain(value.at, shown, read.iter().copied());
        }
        self.file.written.note(value.at, before, &text);
        value.node = match (pieces.as_slice(), text.trim().is_empty()) {
            ([Piece::Variable { name, default: None }], true) => self.empty(shown, name, value.at),
            _ => self.converted(shown, forms, &text, value.at),
        };
    }

    /// `{ env = "NAME" }` for what is no secret.
    fn variable(&self, shown: &str, forms: &[Form], value: &mut Placed) {
        let Some(name) = value.node.as_table().and_then(variable).map(str::to_owned) else { return };
        let at = value.at;
        value.node = if !is_variable_name(&name) {
            let what = "is not the name of an environment variable";
            self.file.unset(at, &format!("{shown}.env"), what, "write a name of letters, digits and _");
            Node::Unset
        } else if let Some(text) = (self.file.environment)(&name) {
            if !self.in_fields {
                self.file.written.note_plain(at, shown, std::iter::once(name.as_str()));
            }
            self.file.written.note(at, &format!("${{{name}}}"), &text);
            if text.trim().is_empty() { self.empty(shown, &name, at) } else { self.converted(shown, forms, &text, at) }
        } else {
            let remedy = format!("set it before attache starts, or write \"${{{name}:-default}}\"");
            self.file.unset(at, shown, not_set(&name), remedy);
            Node::Unset
        };
    }

    fn converted(&self, shown: &str, forms: &[Form], text: &str, at: usize) -> Node {
        self.file.substituted.borrow_mut().insert(at);
        convert(text, forms, at).unwrap_or_else(|| {
            let remedy = format!("set the variable to {}", wanted(forms));
            self.file.unset(at, shown, "has a text from the environment that means nothing here", remedy);
            Node::Unset
        })
    }

    fn empty(&self, shown: &str, name: &str, at: usize) -> Node {
        let what = format!("names the environment variable {name}, which is empty");
        self.file.unset(at, shown, what, "set it before attache starts");
        Node::Unset
    }

    /// A secret that is written as a text. One that is a variable and nothing else is `{ env = "NAME" }`.
    fn secret(&self, shown: &str, is_pem: bool, value: &mut Placed) {
        let Some(text) = value.node.as_str() else { return };
        let pieces = match parse(text) {
            Ok(pieces) => pieces,
            Err(malformed) => return self.malformed(shown, malformed, value),
        };
        if !has_variable(&pieces) {
            self.hint(shown, text, if is_pem { Place::Plain } else { Place::Secret }, value.at);
        }
        let names: Vec<String> = pieces.iter().filter_map(name_of).map(str::to_owned).collect();
        let is_set = |name: &str| (self.file.environment)(name).filter(|content| !content.is_empty());
        if let [Piece::Variable { name, default }] = pieces.as_slice()
            && (default.is_none() || is_set(name).is_some())
        {
            // Of a PEM a plain text is a path.
            let is_path = is_pem && is_set(name).is_some_and(|content| is_path(&content));
            if !is_path {
                value.node = as_place(name, value.at);
                return;
            }
        }
        match fill(&pieces, self.file.environment) {
            Ok(Expanded { text: filled, read }) => {
                if !read.is_empty() {
                    self.file.substituted.borrow_mut().insert(value.at);
                    self.file.written.note(value.at, text, &filled);
                }
                if is_pem {
                    self.file.written.note_arguments(read.iter().copied());
                } else {
                    for name in &read {
                        self.file.written.note_secret(name);
                    }
                }
                value.node = Node::String(filled);
            }
            Err(name) if self.file.secrets_matter => {
                let remedy = format!("set it before attache starts, or write ${{{name}:-default}}");
                self.file.unset(value.at, shown, not_set(name), remedy);
                value.node = Node::Unset;
            }
            // It is not going to be used.
            Err(_) => drop(self.file.substituted.borrow_mut().insert(value.at)),
        }
        self.file.variables.borrow_mut().extend(names);
    }

    /// `{ file = "${FOLDER}/secret" }`, `{ command = ["…", "${ARGUMENT}"] }`.
    fn place(&self, shown: &str, table: &mut Table) {
        for (key, entry) in table.iter_mut() {
            let shown = dotted(shown, &shortened(key));
            match &mut entry.value.node {
                Node::String(_) => self.text(&shown, &[Form::Text], Place::Argument, &mut entry.value),
                Node::Array(words) => {
                    for word in words {
                        self.text(&shown, &[Form::Text], Place::Argument, word);
                    }
                }
                _ => {}
            }
        }
    }

    fn malformed(&self, shown: &str, malformed: expand::Malformed, value: &mut Placed) {
        let remedy = "write ${NAME} or ${NAME:-default}, or $${ where a dollar sign and a brace are meant";
        self.file.unset(value.at, shown, malformed.what(), remedy);
        value.node = Node::Unset;
    }

    fn hint(&self, shown: &str, text: &str, place: Place, at: usize) {
        if let Some(hint) = Hint::of(text, place) {
            let (what, remedy) = hint.words(shown, place);
            self.file.warning(at, what, remedy);
            self.file.substituted.borrow_mut().insert(at);
        }
    }
}

fn not_set(name: &str) -> String {
    format!("names the environment variable {name}, which is not set")
}

fn dotted(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") }
}

/// The name in `{ env = "NAME" }`.
fn variable(table: &Table) -> Option<&str> {
    table.only("env")?.value.node.as_str()
}

fn as_place(name: &str, at: usize) -> Node {
    let mut table = Table::default();
    table.insert("env".to_owned(), Entry { at, value: Placed { at, node: Node::text(name) } });
    Node::Table(table)
}

fn name_of<'t>(piece: &Piece<'t>) -> Option<&'t str> {
    match piece {
        Piece::Variable { name, .. } => Some(name),
        Piece::Text(_) => None,
    }
}

fn has_variable(pieces: &[Piece<'_>]) -> bool {
    pieces.iter().any(|piece| name_of(piece).is_some())
}

/// Hardly a key itself.
fn is_path(content: &str) -> bool {
    !content.contains(['\n', '{']) && !content.contains("-----") && content.len() <= 1024
}

const fn is_secret(form: Form) -> bool {
    matches!(form, Form::Secret | Form::Secrets | Form::Pem | Form::Pems)
}

/// What may stand in place of a table.
const fn is_value(form: Form) -> bool {
    !matches!(form, Form::Table | Form::Tables | Form::Names | Form::Fields | Form::RepeatedFields)
}

/// What one entry of a list may be.
const fn entry_of(form: Form) -> Option<Form> {
    match form {
        Form::Texts | Form::List => Some(Form::Text),
        Form::Integers(first, last) => Some(Form::Integer(first, last)),
        Form::Secrets => Some(Form::Secret),
        Form::Pems => Some(Form::Pem),
        Form::Tables => Some(Form::Table),
        _ => None,
    }
}

#[cfg(test)]
mod shown_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
