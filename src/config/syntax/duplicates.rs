//! What stands in a file twice, and where it stood first.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::config::syntax::lines::{boundary, line_at};
use crate::config::syntax::words::shortened;

/// The table whose header is at this byte, up to the next header. `None` if there is no header.
pub(crate) fn table_at(text: &str, offset: usize) -> Option<Range<usize>> {
    if !line_at(text, offset).trim_start().starts_with('[') {
        return None;
    }
    let begin = boundary(text, offset);
    let lines = text.get(begin..)?.match_indices('\n').map(|(end, _)| begin + end + 1);
    let next = lines.into_iter().find(|line| text.get(*line..).is_some_and(|rest| rest.trim_start().starts_with('[')));
    Some(begin..next.unwrap_or(text.len()))
}

/// The key or table that is there already, and where.
pub(crate) fn duplicate(text: &str, offset: usize) -> String {
    let Some(path) = path_at(text, offset) else { return "duplicate key".to_owned() };
    let shown = shortened(&path.join("."));
    // Of two the parser keeps the later one, so what stands before it is read by itself.
    let offset = boundary(text, offset);
    let before = &text[..text[..offset].rfind('\n').map_or(0, |end| end + 1)];
    let (tree, _errors) = DeTable::parse_recoverable(before);
    match first_place(tree.get_ref(), &path) {
        Some(first) => format!("duplicate key: `{shown}` stands in line {} already", line_number(text, first)),
        None => format!("duplicate key: `{shown}` stands here twice"),
    }
}

/// The whole path of the key that a line writes, from the header above it.
fn path_at(text: &str, offset: usize) -> Option<Vec<String>> {
    let line = line_at(text, offset);
    if line.trim_start().starts_with('[') {
        return keys_of(&format!("{line}\n"));
    }
    let above = text[..boundary(text, offset)].lines().rev();
    let header = above.map(str::trim_start).find(|line| line.starts_with('['));
    let mut path = header.map_or_else(|| Some(Vec::new()), |header| keys_of(&format!("{header}\n")))?;
    path.extend(keys_of(&format!("{} = 0\n", line.split_once('=')?.0))?);
    Some(path)
}

/// The keys of a text with one path in it, by the parser.
fn keys_of(text: &str) -> Option<Vec<String>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut path = Vec::new();
    let mut table = errors.is_empty().then_some(tree.get_ref());
    while let Some((key, value)) = table.and_then(|table| table.iter().next()) {
        path.push(key.get_ref().as_ref().to_owned());
        table = value.get_ref().as_table();
    }
    Some(path).filter(|path| !path.is_empty())
}

/// Where a path was written first.
fn first_place(tree: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let (last, tables) = path.split_last()?;
    let mut table = tree;
    for name in tables {
        table = match table.get(name.as_str())?.get_ref() {
            DeValue::Table(table) => table,
            _ => return None,
        };
    }
    table.get_key_value(last.as_str()).map(|(key, _)| key.span().start)
}

fn line_number(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use crate::config::testing::problems;

    fn first(text: &str) -> String {
        problems(text).remove(0)
    }

    #[test]
    fn what_stands_twice_is_named_with_its_first_place() {
        let found = first("[admin]\naddress = \"127.0.0.1:1\"\naddress = \"127.0.0.1:2\"\n");
        assert_eq!(
            found,
            "proxy.toml:3:1: duplicate key: `admin.address` stands in line 2 already; keep one of the two"
        );
        let found = first("[upstreams.a]\norigin = \"https://a.test\"\n\n[upstreams.a]\norigin = \"https://b.test\"\n");
        assert!(
            found.starts_with("proxy.toml:4:") && found.contains("`upstreams.a` stands in line 1 already; "),
            "{found}"
        );
        let found = first("[limits]\n[admin]\n[limits]\n");
        assert!(found.contains("`limits` stands in line 1 already; "), "{found}");
    }

    #[test]
    fn a_table_that_stands_twice_is_one_problem_and_not_one_for_each_key() {
        let table = "[upstreams.a]\norigin = \"https://a.test\"\n";
        let found = problems(&format!("{table}{table}[limits]\nmor = 1\n"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`upstreams.a` stands in line 1") && found[1].contains("`mor`"), "{found:?}");
    }
}
