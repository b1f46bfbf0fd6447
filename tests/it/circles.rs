//! No two files need each other: a reader who starts at the bottom never has to jump.
//!
//! Each `use` and each path in the code is followed to the file that defines what it names, through re-exports. A re-export is
//! no use of its own, so that a `mod.rs` counts only for what it defines and calls itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::{Source, sources};

#[test]
fn no_files_use_each_other_in_a_circle() {
    let tree = Tree::new(sources());
    let arrows = tree.arrows();
    let circles: Vec<String> = circles(&arrows).iter().map(|circle| told(circle, &arrows)).collect();
    assert!(circles.is_empty(), "{} circles of files:\n{}", circles.len(), circles.join("\n"));
}

#[test]
fn what_stands_below_takes_from_above_what_is_declared_there_and_calls_nothing() {
    let tree = Tree::new(sources());
    for ((from, to), names) in tree.arrows() {
        let Some(folder) = to.strip_suffix("mod.rs") else { continue };
        if folder.is_empty() || !from.starts_with(folder) {
            continue;
        }
        for name in names {
            let kind = tree.files[&module_of(&to)].defined.get(&name).copied();
            assert!(kind != Some("fn"), "src/{from} calls {name} of src/{to}, which stands above it");
        }
    }
}

/// From one file to another, with the names that the first takes from the second.
type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

/// A path to a module, from the root of the crate.
type Module = Vec<String>;

/// What one file says of names.
#[derive(Default)]
struct File {
    path: String,
    /// `mod x;`.
    children: BTreeSet<String>,
    /// Items that stand at the left margin, with their keywords.
    defined: BTreeMap<String, &'static str>,
    /// `use`: by what name the path is known here, and whether it is handed on.
    bound: Vec<Binding>,
    /// The code without its `use` declarations.
    body: Vec<String>,
}

struct Binding {
    name: String,
    path: Vec<String>,
    exported: bool,
}

struct Tree {
    files: BTreeMap<Module, File>,
}

/// What a path leads to.
#[derive(Debug, PartialEq)]
enum Found {
    Module(Module),
    /// The module that defines it, and the name there.
    Item(Module, String),
}

impl Tree {
    fn new(sources: Vec<Source>) -> Self {
        let read = |source: Source| (module_of(&source.path), File::read(source));
        Self { files: sources.into_iter().filter(|source| source.path != "main.rs").map(read).collect() }
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (module, file) in &self.files {
            for path in file.paths() {
                let Some(Found::Item(target, name)) = self.follow(module, &path, 0) else { continue };
                let to = &self.files[&target].path;
                if *to != file.path {
                    arrows.entry((file.path.clone(), to.clone())).or_default().insert(name);
                }
            }
        }
        arrows
    }

    /// Where a path leads that stands in this module.
    fn follow(&self, module: &Module, path: &[String], depth: usize) -> Option<Found> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.descend(Vec::new(), rest, depth),
            "self" => self.descend(module.clone(), rest, depth),
            "super" => {
                let mut above = module.clone();
                above.pop()?;
                let ups = rest.iter().take_while(|part| *part == "super").count();
                above.truncate(above.len().checked_sub(ups)?);
                self.descend(above, &rest[ups..], depth)
            }
            _ => self.descend(module.clone(), path, depth),
        }
    }

    fn descend(&self, mut module: Module, path: &[String], depth: usize) -> Option<Found> {
        // Deeper than any chain of re-exports: what is followed here goes in a circle.
        if depth > 16 {
            return None;
        }
        let mut rest = path;
        while let Some((name, behind)) = rest.split_first() {
            let file = self.files.get(&module)?;
            if file.children.contains(name) {
                module.push(name.clone());
                rest = behind;
                continue;
            }
            if file.defined.contains_key(name) {
                return Some(Found::Item(module, name.clone()));
            }
            let named = file.bound.iter().filter(|binding| binding.name == *name);
            let globs = file.bound.iter().filter(|binding| binding.name == "*");
            let through = |binding: &Binding, rest: &[String]| {
                let whole: Vec<String> = binding.path.iter().chain(rest).cloned().collect();
                self.follow(&module, &whole, depth + 1)
            };
            return named
                .map(|binding| through(binding, behind))
                .chain(globs.map(|binding| through(binding, rest)))
                .find_map(|found| found);
        }
        Some(Found::Module(module))
    }
}

impl File {
    fn read(Source { path, code }: Source) -> Self {
        let mut file = Self { path, ..Self::default() };
        let mut lines = code.lines();
        let mut test = false;
        while let Some(line) = lines.next() {
            let whole = |lines: &mut std::str::Lines<'_>| {
                let mut text = line.to_owned();
                while !text.contains(';') {
                    text.push_str(lines.next().unwrap_or(";"));
                }
                text
            };
            let words = line.trim_start();
            let (exported, words) = match words.strip_prefix("pub") {
                Some(rest) if rest.starts_with(['(', ' ']) => {
                    (true, rest.trim_start_matches(|c| c != ' ').trim_start())
                }
                _ => (false, words),
            };
            if words.starts_with("use ") {
                let text = whole(&mut lines);
                if !test {
                    let tree = text.split_once("use ").map_or("", |(_, tree)| tree);
                    file.bind(&mut Vec::new(), tree.split(';').next().unwrap_or_default(), exported);
                }
            } else if let Some(name) = words.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
                // A module of tests is not among the files that are looked at.
                if !test {
                    file.children.insert(name.to_owned());
                }
            } else {
                if !line.starts_with(' ') {
                    file.define(words);
                }
                file.body.push(line.to_owned());
            }
            test = words == "#[cfg(test)]" || (test && words.starts_with("#["));
        }
        file
    }

    fn bind(&mut self, before: &mut Vec<String>, tree: &str, exported: bool) {
        let tree = tree.trim();
        let (path, list) = match tree.split_once('{') {
            Some((path, list)) => (path, Some(list.trim_end().strip_suffix('}').unwrap_or(list))),
            None => (tree, None),
        };
        let depth = before.len();
        let (path, alias) = path.split_once(" as ").map_or((path, None), |(path, alias)| (path, Some(alias.trim())));
        before.extend(path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
        match list {
            Some(list) => split(list).for_each(|inner| self.bind(before, inner, exported)),
            None => {
                if before.len() > 1 && before.last().is_some_and(|last| last == "self") {
                    before.pop();
                }
                if let Some(last) = before.last() {
                    let name = alias.unwrap_or(last).to_owned();
                    let path = if last == "*" { before[..before.len() - 1].to_vec() } else { before.clone() };
                    self.bound.push(Binding { name, path, exported });
                }
            }
        }
        before.truncate(depth);
    }

    fn define(&mut self, words: &str) {
        const KINDS: [&str; 8] = ["struct", "enum", "trait", "type", "const", "static", "union", "fn"];
        let words = words.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '!').filter(|word| !word.is_empty());
        let mut kind = None;
        for word in words {
            match word {
                "async" | "unsafe" | "extern" => {}
                "macro_rules!" => kind = Some("macro"),
                // `const fn`.
                word if KINDS.contains(&word) => kind = KINDS.into_iter().find(|known| *known == word),
                name => {
                    if let Some(kind) = kind {
                        self.defined.insert(name.to_owned(), kind);
                    }
                    return;
                }
            }
        }
    }

    /// Each path that the code names: its `use` declarations, but for what it only hands on, and what stands in between.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        let words: BTreeSet<&str> = self.body.iter().flat_map(|line| line.split(|c: char| !is_word(c))).collect();
        for binding in &self.bound {
            if !binding.exported || words.contains(binding.name.as_str()) {
                paths.push(binding.path.clone());
            }
        }
        for line in &self.body {
            let mut rest = line.as_str();
            while let Some(at) = rest.find("::") {
                let start = rest[..at].rfind(|c: char| !is_word(c)).map_or(0, |before| before + 1);
                let end = rest[at..].find(|c: char| !is_word(c) && c != ':').map_or(rest.len(), |end| at + end);
                let path: Vec<String> =
                    rest[start..end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
                // A type's own function is reached by the `use` of the type.
                if path.len() > 1
                    && path[0].starts_with(|c: char| c.is_ascii_lowercase())
                    && !rest[..start].ends_with("::")
                {
                    paths.push(path);
                }
                rest = &rest[end..];
            }
        }
        paths
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// At the commas that stand in no inner braces.
fn split(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    list.split(move |c| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    })
}

fn module_of(path: &str) -> Module {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The groups of files of which each reaches each other.
fn circles(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        next.entry(from).or_default().push(to);
    }
    let reached = |start: &str| {
        let (mut reached, mut todo) = (BTreeSet::new(), vec![start]);
        while let Some(file) = todo.pop() {
            for to in next.get(file).into_iter().flatten() {
                if reached.insert((*to).to_owned()) {
                    todo.push(to);
                }
            }
        }
        reached
    };
    let all: BTreeMap<&str, BTreeSet<String>> = next.keys().map(|file| (*file, reached(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, reached) in &all {
        let back = |to: &&String| all.get(to.as_str()).is_some_and(|reached| reached.contains(*file));
        let circle: BTreeSet<String> = reached.iter().filter(back).cloned().collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn told(circle: &BTreeSet<String>, arrows: &Arrows) -> String {
    let inside = arrows.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to));
    let lines = inside.map(|((from, to), names)| {
        format!("    {from} -> {to}: {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    });
    format!(
        "{}:\n{}",
        circle.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        lines.collect::<Vec<_>>().join("\n")
    )
}
