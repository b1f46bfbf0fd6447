//! Sections whose keys are names: `[listeners.NAME]`, `[credentials.NAME]`, `[upstreams.NAME]`.

use crate::config::syntax::named::Names;
use crate::config::syntax::reader::TableReader;
use crate::config::syntax::words::shortened;

/// All tables of one section, in the file's order.
pub(crate) struct Section<'a> {
    /// Every name, also of the tables that turn out to be wrong: they exist, so references to them are no second problem.
    pub(crate) names: Names<'a>,
    pub(crate) tables: Vec<(&'a str, TableReader<'a>)>,
    /// True if the section is there but no table, which has been reported.
    pub(crate) broken: bool,
}

impl<'a> Section<'a> {
    /// Reads the section `key` of the file; empty if it is not there.
    pub(crate) fn read(root: &mut TableReader<'a>, key: &'static str) -> Self {
        let mut section = Self { names: Names::default(), tables: Vec::new(), broken: false };
        let Some(value) = root.get(key) else { return section };
        let remedy = format!("write [{key}.NAME] above its keys, with a name of your choice");
        if !value.node.is_table() {
            value.wrong_type::<()>("a table", &remedy);
            section.broken = true;
            return section;
        }
        for (name, at, value) in TableReader::from_value(&value).iter().flat_map(TableReader::entries) {
            section.names.push(name);
            if !value.node.is_table() {
                value.wrong_type::<()>("a table", &remedy);
                continue;
            }
            if !is_name(name) {
                value.file.problem(
                    at,
                    format!("\"{}\" cannot be a name", shortened(name)),
                    "write 1 to 64 letters (a to z), digits, \"_\", \".\" or \"-\"",
                );
            }
            section.tables.extend(TableReader::from_value(&value).map(|table| (name, table)));
        }
        section
    }
}

/// Names become labels of metrics and parts of paths on the admin listener.
fn is_name(name: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(usual)
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{config, problems};

    #[test]
    fn a_section_without_a_name_is_explained() {
        let remedy = "write [listeners.NAME] above its keys, with a name of your choice";
        let found = problems("[listeners]\naddress = \"127.0.0.1:0\"\n");
        assert_eq!(found, [format!("proxy.toml:2:11: `listeners.address` is a string, not a table; {remedy}")]);
        let found = problems("[[listeners]]\naddress = \"127.0.0.1:0\"\n");
        assert_eq!(found, [format!("proxy.toml:1:1: `listeners` is a list, not a table; {remedy}")]);
    }

    #[test]
    fn names_are_fit_for_labels() {
        let text = "[listeners.\"a b\"]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[listeners.\"\"]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";
        let found = problems(text);
        assert!(found[0].starts_with("proxy.toml:1:12: \"a b\" cannot be a name; write 1 to 64 letters"), "{found:#?}");
        assert!(found[1].starts_with("proxy.toml:4:12: \"\" cannot be a name; "), "{found:#?}");
    }

    #[test]
    fn sections_keep_the_order_of_the_file() {
        let read = config(
            "[listeners.z]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[listeners.a]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n",
        );
        let names: Vec<_> = read.listeners.iter().map(|listener| listener.name.as_str()).collect();
        assert_eq!(names, ["z", "a"]);
    }
}
