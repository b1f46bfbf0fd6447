//! docs/configuration.md, made of the table of keys.

use crate::config::generate::keys::{Form, Key, Table, tables};

const HEAD: &str = "\
# Configuration

Every key of `proxy.toml`. This page is made by `attache schema --format markdown` from the table that the editors' schema
comes from too, and a test holds that against what attache reads; to change it, change `src/config/generate/keys.txt`.
An annotated file to copy from is [proxy.toml](../proxy.toml).

";

/// What holds for the whole file; the manual page has it, too.
pub(super) const GENERAL: &str = "\
The file is `-p NAME` (`~/.config/attache/NAME.toml`) or `--config FILE`, else `$ATTACHE_CONFIG`, else `./proxy.toml`, else
`~/.config/attache/proxy.toml`. `attache check` says everything that is wrong with it in
one go, with line and column. Paths in it are relative to it. An unknown key is an error.

For completion and checks while typing, in editors that have Taplo (\"Even Better TOML\"):

```sh
attache schema > proxy.schema.json      # and as the first line of proxy.toml: #:schema ./proxy.schema.json
```

## One file for every stage

```toml
[listeners.proxy]
address = \"${LISTEN:-127.0.0.1:8080}\"
mode    = \"forward\"
open    = { env = \"OPEN\" }                       # \"true\" or \"false\"

[credentials.orders]
token_endpoint = \"https://login.${STAGE}.example.com/token\"
client_id      = \"${CLIENT_ID}\"
client_secret  = \"${CLIENT_SECRET}\"              # as { env = \"CLIENT_SECRET\" }
scope          = { env = \"SCOPES\" }              # \"orders.read orders.write\"
```

- `${NAME}` in any text is the environment variable of that name. One that is not set is a problem that names it; `${NAME:-text}` has a default for unset and empty. `$$` is a dollar sign, and any other `${` a problem.
- `{ env = \"NAME\" }` may stand in place of any value but a table. What is no text is read from one: `\"true\"`, `\"64\"`, `\"a b\"` for a list.
- It happens once, in texts alone, after TOML is read: a variable can bring no key and no table, and what it brings is not searched for another.
- A secret that is written so is a secret: it is never shown, and `attache exec` keeps the variable from its command. A program's arguments are filled in too; what its shell is to fill in is written `$${NAME}`.
- `$NAME`, `env:NAME` and `op://…` stay as they are, and are warned of.

## Several files

```toml
include = [\"conf.d/*.toml\", \"local.toml\"]     # at the top of the file
```

Patterns (`*`, `?`, `[a-z]`; no `**`) and names of regular files, relative to the file. Each pattern's files are taken in sorted order, without those whose names begin with a dot; a name without a pattern has to be there. Listeners, credentials, upstreams and callers may stand in
any of them, every other table in one. The same name or table in two files is a problem that names both; nothing is overridden. Paths in an included file are relative to that, and problems name it, with line and column. Included files include
nothing themselves. They are watched, and so is what comes to match a pattern.

## Values

| | |
|---|---|
| text | between quotes; never blank |
| duration | a number and its unit: `\"500ms\"`, `\"10s\"`, `\"5m\"`, `\"1h 30m\"` |
| size | a number and its unit: `\"64KiB\"`, `\"1MiB\"` |
| address | an IP address or `localhost` with a port (0: a free one), or `\"unix:/absolute/path\"` |
| secret | `{ env = \"NAME\" }`, `{ file = \"path\" }`, `{ credential = \"NAME\" }` (systemd's `LoadCredential=`), `{ command = [\"program\", \"argument\"], timeout = \"10s\" }`, each with `field = \"a.b\"` for a member of JSON if need be; or the secret itself, which is warned about |
| secrets | a secret, or a list of them: ordered fallbacks |
| PEM | a path; or the PEM itself, or a place as for a secret |
| NAME | of listeners, credentials, upstreams and callers: 1 to 64 letters, digits, `_`, `.` and `-` |
";

/// The reference of every key, in Markdown.
#[must_use]
pub(crate) fn markdown() -> String {
    let tables = tables();
    let mut page = format!("{HEAD}{GENERAL}");
    for table in tables.iter().filter(|table| !table.path.is_empty()) {
        page.push('\n');
        page.push_str(&section(table, is_list(&tables, table.path)));
    }
    page
}

/// True for the keys of each table in a list of them.
pub(super) fn is_list(tables: &[Table], path: &str) -> bool {
    let Some((above, name)) = path.rsplit_once('.') else { return false };
    let keys = tables.iter().filter(|table| table.path == above).flat_map(|table| &table.keys);
    keys.filter(|key| key.name == name).any(|key| key.forms.contains(&Form::Tables))
}

/// `[upstreams.NAME.retry]`
pub(super) fn title(table: &Table, is_list: bool) -> String {
    let path = table.path.replace('*', "NAME");
    if is_list { format!("[[{path}]]") } else { format!("[{path}]") }
}

fn section(table: &Table, is_list: bool) -> String {
    let mut text = format!("## {}\n\n`{}`\n\n", table.heading, title(table, is_list));
    for more in &table.more {
        text.push_str(&format!("{more}\n\n"));
    }
    text.push_str("| key | value | default | |\n|---|---|---|---|\n");
    for key in &table.keys {
        text.push_str(&row(key));
    }
    text
}

fn row(key: &Key) -> String {
    let default = default(key);
    format!("| `{}` | {} | {default} | {} |\n", key.name, forms(key), key.about)
}

/// What a key may be.
pub(super) fn forms(key: &Key) -> String {
    let forms: Vec<String> = key.forms.iter().map(|form| shown(*form)).collect();
    forms.join(" · ")
}

/// What stands for a key that is left out.
pub(super) fn default(key: &Key) -> String {
    match key.default {
        "required" => "**required**".to_owned(),
        "-" => "none".to_owned(),
        _ if key.default_value().is_some() => format!("`{}`", key.default),
        words => words.to_owned(),
    }
}

fn shown(form: Form) -> String {
    match form {
        Form::Word(word) => format!("`\"{word}\"`"),
        Form::Boolean => "`true` · `false`".to_owned(),
        Form::Integer(first, last) => format!("{first} to {last}"),
        Form::Integers(first, last) => format!("list of {first} to {last}"),
        Form::Fraction(first, last) => format!("{first} to {last}"),
        Form::Text => "text".to_owned(),
        Form::Texts => "text or list of texts".to_owned(),
        Form::List => "list of texts".to_owned(),
        Form::Duration => "duration".to_owned(),
        Form::Size => "size".to_owned(),
        Form::Address => "address".to_owned(),
        Form::Secret => "secret".to_owned(),
        Form::Secrets => "secrets".to_owned(),
        Form::Pem => "PEM".to_owned(),
        Form::Pems => "PEM, or a list".to_owned(),
        Form::Table => "table, below".to_owned(),
        Form::Tables => "list of tables, below".to_owned(),
        Form::Names => "tables, below".to_owned(),
        Form::Fields => "table of texts".to_owned(),
        Form::RepeatedFields => "table of texts or lists of them".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        let remedy = "write it anew: cargo run -- schema --format markdown > docs/configuration.md";
        assert!(
            there == super::markdown(),
            "docs/configuration.md is not what src/config/generate/keys.txt says; {remedy}"
        );
    }
}
