//! proxy.toml(5), made of the table of keys and of the words that stand above it in docs/configuration.md.

use super::keys::{Key, Table, tables};
use super::reference::{GENERAL, default, forms, is_list, title};

/// Where the file is found, and which pages say more.
const FILES: &str = "\
.SH FILES
.TP
\\fB\\&./proxy.toml\\fR
The file of the current folder.
.TP
\\fB~/.config/attache/\\fR
\\fBproxy.toml\\fR, and profiles by their names.
.TP
\\fB/etc/attache/proxy.toml\\fR
The file of the service that packages install.
.TP
\\fB/usr/share/attache/proxy.schema.json\\fR
The JSON schema, for editors.
.SH SEE ALSO
\\fBattache\\fR(1),
\\fBattache\\-check\\fR(1),
\\fBattache\\-init\\fR(1),
\\fBattache\\-schema\\fR(1)
";

/// The manual page of the file, in roff. `date` is that of the page, `source` the program's name and version.
#[must_use]
pub(crate) fn page(date: &str, source: &str, manual: &str) -> String {
    let tables = tables();
    let mut page = format!(".TH PROXY.TOML 5 \"{date}\" \"{source}\" \"{manual}\"\n");
    page.push_str(".SH NAME\nproxy.toml \\- configuration of attache\n.SH DESCRIPTION\n");
    page.push_str(&roff(GENERAL));
    for table in tables.iter().filter(|table| !table.path.is_empty()) {
        page.push_str(&section(table, is_list(&tables, table.path)));
    }
    page.push_str(FILES);
    page
}

fn section(table: &Table, is_list: bool) -> String {
    let heading = table.heading.replace('"', "\\(dq");
    let mut text = format!(".SH \"{heading}\"\n\\fB{}\\fR\n", escaped(&title(table, is_list)));
    for more in &table.more {
        text.push_str(&format!(".PP\n{}\n", inline(more)));
    }
    for key in &table.keys {
        text.push_str(&entry(key));
    }
    text
}

fn entry(key: &Key) -> String {
    let name = escaped(key.name);
    let (forms, default, about) = (inline(&forms(key)), inline(&default(key)), inline(key.about));
    let about = if about.is_empty() { about } else { format!("{about}\n.br\n") };
    format!(".TP\n\\fB{name}\\fR = {forms}\n{about}Default: {default}\n")
}

/// The Markdown of the reference page: headings, paragraphs, code between fences, items of one line, tables of two columns.
fn roff(markdown: &str) -> String {
    let mut page = String::new();
    let mut in_code = false;
    for line in markdown.lines() {
        let written = if line.starts_with("```") {
            in_code = !in_code;
            (if in_code { ".PP\n.nf" } else { ".fi" }).to_owned()
        } else if in_code {
            escaped(line)
        } else if let Some(heading) = line.strip_prefix("## ") {
            format!(".SH \"{}\"", escaped(heading))
        } else if let Some(item) = line.strip_prefix("- ") {
            format!(".IP \\(bu 2\n{}", inline(item))
        } else if let Some((name, what)) = row(line) {
            format!(".TP\n\\fB{}\\fR\n{}", inline(name), inline(what))
        } else if line.starts_with('|') {
            continue;
        } else if line.is_empty() {
            ".PP".to_owned()
        } else {
            inline(line)
        };
        page.push_str(&written);
        page.push('\n');
    }
    without_idle_breaks(&page)
}

/// A row of a table of two columns; not its head, nor the line below that.
fn row(line: &str) -> Option<(&str, &str)> {
    let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
    cells.split_once(" | ").filter(|(name, _)| !name.is_empty())
}

/// A paragraph begins once, and by itself where a section, an item or a table follows or a section has just begun.
fn without_idle_breaks(page: &str) -> String {
    let begins = |line: &str| [".SH", ".IP", ".TP", ".PP"].iter().any(|request| line.starts_with(request));
    let mut kept: Vec<&str> = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let idle =
            lines.peek().is_none_or(|next| begins(next)) || kept.last().is_some_and(|last| last.starts_with(".SH"));
        if line != ".PP" || !idle {
            kept.push(line);
        }
    }
    kept.iter().map(|line| format!("{line}\n")).collect()
}

/// Code is bold, links are their text, and what is strong is as it is.
fn inline(markdown: &str) -> String {
    let mut text = String::new();
    for (number, part) in markdown.split('`').enumerate() {
        if number % 2 == 1 {
            text.push_str(&format!("\\fB{}\\fR", escaped(part)));
        } else {
            text.push_str(&escaped(&unlinked(part).replace("**", "")));
        }
    }
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// `[text](where)` is its text.
fn unlinked(text: &str) -> String {
    let Some((before, rest)) = text.split_once('[') else { return text.to_owned() };
    match rest.split_once("](").and_then(|(shown, rest)| Some((shown, rest.split_once(')')?.1))) {
        Some((shown, after)) => format!("{before}{shown}{}", unlinked(after)),
        None => format!("{before}[{}", unlinked(rest)),
    }
}

/// No line is a request of roff's, and a hyphen can be pasted into a file.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_the_manual_page() {
        let page = page("2026-01-02", "attache 1.2.3", "attache");
        assert!(
            page.starts_with(".TH PROXY.TOML 5 \"2026-01-02\" \"attache 1.2.3\" \"attache\"\n.SH NAME\n"),
            "{page}"
        );
        for table in tables().iter().filter(|table| !table.path.is_empty()) {
            for key in &table.keys {
                assert!(
                    page.contains(&format!(".TP\n\\fB{}\\fR = ", escaped(key.name))),
                    "{}.{}",
                    table.path,
                    key.name
                );
            }
        }
        assert!(!page.contains('`') && !page.contains("]("), "Markdown is left: {page}");
    }

    #[test]
    fn markdown_becomes_requests() {
        let markdown = "A `b-c` and [d](e.md).\n\n## F\n\n```toml\n.x = \"\\n\"\n```\n\n- one\n- two\n\n| | |\n|---|---|\n| g | **h** |\n\nEnd\n";
        assert_eq!(
            roff(markdown),
            "A \\fBb\\-c\\fR and d.\n.SH \"F\"\n.nf\n\\&.x = \"\\en\"\n.fi\n.IP \\(bu 2\none\n.IP \\(bu 2\ntwo\n\
             .TP\n\\fBg\\fR\nh\n.PP\nEnd\n"
        );
    }
}
