//! Values put into a TOML document whose comments and columns stay.

use toml_edit::{Decor, DocumentMut, Item, Key, RawString, Table, Value};

/// What marks a value that has to be changed.
const MARK: &str = "# <-- ";

pub(super) fn table<'d>(document: &'d DocumentMut, section: &str, name: &str) -> Option<&'d Table> {
    document.get(section)?.get(name)?.as_table()
}

pub(super) fn table_mut<'d>(document: &'d mut DocumentMut, section: &str, name: &str) -> Option<&'d mut Table> {
    document.get_mut(section)?.get_mut(name)?.as_table_mut()
}

/// What is said of a value that has to be changed.
pub(super) fn marked(value: &Value) -> Option<&str> {
    shown(value.decor().suffix()).split_once(MARK).map(|(_, about)| about)
}

/// An answered value is marked no more. Its comment stays where it was, if there is room.
pub(super) fn answer(old: &mut Value, new: Value) {
    let comment = marked(old).map(|about| format!("# {about}"));
    put(old, new, &comment.unwrap_or_default());
}

/// Another example: it stays marked.
pub(super) fn suggest(old: &mut Value, new: Value) {
    let comment = shown(old.decor().suffix()).trim_start().to_owned();
    put(old, new, &comment);
}

fn put(old: &mut Value, new: Value, comment: &str) {
    let suffix = shown(old.decor().suffix());
    let column = width(old) + suffix.len() - suffix.trim_start().len();
    let space = if comment.is_empty() { 0 } else { column.saturating_sub(width(&new)).max(2) };
    replace(old, new);
    old.decor_mut().set_suffix(format!("{}{comment}", " ".repeat(space)));
}

pub(super) fn replace(old: &mut Value, new: Value) {
    let decor = old.decor().clone();
    *old = new;
    *old.decor_mut() = decor;
}

fn width(value: &Value) -> usize {
    value.clone().decorated("", "").to_string().chars().count()
}

pub(super) fn insert_at(table: &mut Table, place: usize, key: &Key, value: Value) {
    let mut order: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
    order.insert(place.min(order.len()), key.get().to_owned());
    table.insert_formatted(key, Item::Value(value));
    let rank = |key: &Key| order.iter().position(|known| known == key.get());
    table.sort_values_by(|one, _, other, _| rank(one).cmp(&rank(other)));
}

/// Puts a key below the others, in their column.
pub(super) fn append(table: &mut Table, key: &str, value: Value) {
    let column = table.iter().filter_map(|(key, _)| table.key(key)).map(key_width).max().unwrap_or_default();
    let decor = Decor::new("", " ".repeat(column.saturating_sub(key.len()).max(1)));
    let below = table.len();
    insert_at(table, below, &Key::new(key).with_leaf_decor(decor), value);
}

/// What stands before the `=`.
pub(super) fn key_width(key: &Key) -> usize {
    key.display_repr().len() + shown(key.leaf_decor().suffix()).len()
}

/// Takes the line `#key = value` out of a comment. What stands above it goes with the key.
pub(super) fn take_line(decor: &mut Decor, key: &str) -> Option<(Key, Value)> {
    let comment = shown(decor.prefix()).to_owned();
    let mut at = 0;
    for line in comment.split_inclusive('\n') {
        let found = line.strip_prefix('#').and_then(|code| code.parse::<DocumentMut>().ok());
        if let Some((mut key, Item::Value(value))) = found.and_then(|mut found| found.remove_entry(key)) {
            decor.set_prefix(comment.get(at + line.len()..).unwrap_or_default());
            key.leaf_decor_mut().set_prefix(comment.get(..at).unwrap_or_default());
            // One column further, since the `#` is gone.
            let space = format!("{} ", shown(key.leaf_decor().suffix()));
            key.leaf_decor_mut().set_suffix(space);
            return Some((key, value));
        }
        at += line.len();
    }
    None
}

pub(super) fn shown(raw: Option<&RawString>) -> &str {
    raw.and_then(RawString::as_str).unwrap_or_default()
}
