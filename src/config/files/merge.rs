//! One table of several files. What stands in two of them is a problem: nothing is overridden.

use crate::config::syntax::file::File;
use crate::config::syntax::tree::{Entry, Node, Table};
use crate::config::syntax::words::shortened;

/// The tables whose keys are names, which each file may add to.
const SECTIONS: [&str; 4] = ["listeners", "credentials", "upstreams", "callers"];

/// Adds what an included file says.
pub(super) fn merge(file: &File<'_>, whole: &mut Table, part: Table) {
    for (key, entry) in part.into_entries() {
        if key == "include" {
            file.problem(
                entry.at,
                "`include` stands in a file that is included itself",
                "write it in the file that attache is started with",
            );
            continue;
        }
        let Some(there) = whole.get_mut(&key) else {
            whole.insert(key, entry);
            continue;
        };
        match (&mut there.value.node, entry.value.node) {
            (Node::Table(names), Node::Table(more)) if SECTIONS.contains(&key.as_str()) => {
                for (name, entry) in more.into_entries() {
                    match names.get(&name) {
                        Some(first) => twice(file, &format!("{key}.{}", shortened(&name)), first.at, &entry),
                        None => names.insert(name, entry),
                    }
                }
            }
            (_, node) => {
                let (at, second) = (
                    there.at,
                    Entry { value: crate::config::syntax::tree::Placed { at: entry.value.at, node }, ..entry },
                );
                twice(file, &shortened(&key), at, &second);
            }
        }
    }
}

fn twice(file: &File<'_>, key: &str, first: usize, second: &Entry) {
    let what = format!("`{key}` stands in {} already", file.place(first));
    file.problem(second.at, what, "keep one of the two");
}
