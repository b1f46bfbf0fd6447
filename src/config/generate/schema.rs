//! Every key of the file as data: what editors and the reference page are told. The table is `keys.txt`; a test holds it
//! against what the readers really ask for.

use serde_json::{Map, Value, json};

/// A table of the file and its keys.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// `upstreams.*.retry`; empty for the file itself.
    pub(crate) path: &'static str,
    pub(crate) heading: &'static str,
    pub(crate) more: Vec<&'static str>,
    pub(crate) keys: Vec<Key>,
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) forms: Vec<Form>,
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
}

/// One of the things that a key may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    Word(&'static str),
    Boolean,
    Integer(u32, u32),
    Integers(u32, u32),
    Fraction(f64, f64),
    Text,
    Texts,
    List,
    Duration,
    Size,
    Address,
    Secret,
    Secrets,
    Pem,
    Pems,
    Table,
    Tables,
    Names,
    Fields,
    RepeatedFields,
}

/// All tables, in the order of the page. A line that cannot be read is left out; the tests see to it that there is none.
pub(crate) fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in include_str!("keys.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((path, heading)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            tables.push(Table { path, heading: heading.trim(), more: Vec::new(), keys: Vec::new() });
        } else if let Some(table) = tables.last_mut() {
            match line.strip_prefix("> ") {
                Some(more) => table.more.push(more),
                None => table.keys.extend(key(line)),
            }
        }
    }
    tables
}

pub(crate) fn key(line: &'static str) -> Option<Key> {
    let mut columns = line.splitn(4, '|').map(str::trim);
    let (name, forms) = (columns.next()?, columns.next()?);
    let forms = forms.split(" / ").map(form).collect::<Option<_>>()?;
    Some(Key { name, forms, default: columns.next()?, about: columns.next()? })
}

fn form(text: &'static str) -> Option<Form> {
    if let Some(word) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Some(Form::Word(word));
    }
    if let Some((kind, (first, last))) =
        text.split_once(' ').and_then(|(kind, range)| Some((kind, range.split_once("..")?)))
    {
        return match kind {
            "integer" => Some(Form::Integer(first.parse().ok()?, last.parse().ok()?)),
            "integers" => Some(Form::Integers(first.parse().ok()?, last.parse().ok()?)),
            "fraction" => Some(Form::Fraction(first.parse().ok()?, last.parse().ok()?)),
            _ => None,
        };
    }
    PLAIN.iter().find(|(word, _)| *word == text).map(|(_, form)| *form)
}

const PLAIN: [(&str, Form); 16] = [
    ("boolean", Form::Boolean),
    ("text", Form::Text),
    ("texts", Form::Texts),
    ("list", Form::List),
    ("duration", Form::Duration),
    ("size", Form::Size),
    ("address", Form::Address),
    ("secret", Form::Secret),
    ("secrets", Form::Secrets),
    ("pem", Form::Pem),
    ("pems", Form::Pems),
    ("table", Form::Table),
    ("tables", Form::Tables),
    ("names", Form::Names),
    ("fields", Form::Fields),
    ("repeated fields", Form::RepeatedFields),
];

impl Key {
    /// The default, where it is a value and not words about one.
    pub(crate) fn default_value(&self) -> Option<toml::Value> {
        let mut table = format!("x = {}", self.default).parse::<toml::Table>().ok()?;
        table.remove("x")
    }

    pub(crate) fn is_required(&self) -> bool {
        self.default == "required"
    }
}

/// JSON schema, draft 2020-12, of the whole file.
#[must_use]
pub fn json_schema() -> Value {
    let tables = tables();
    let mut schema = object(&tables, "", "attache's proxy.toml");
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), "proxy.toml".into());
    schema.insert("$defs".into(), definitions());
    Value::Object(schema)
}

/// The table at a path, with everything below it.
fn object(tables: &[Table], path: &str, about: &str) -> Map<String, Value> {
    let keys = tables.iter().find(|table| table.path == path).map_or(&[][..], |table| &table.keys);
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(tables, path, key))).collect();
    let required: Vec<&str> = keys.iter().filter(|key| key.is_required()).map(|key| key.name).collect();
    let mut object = Map::new();
    object.insert("type".into(), "object".into());
    if !about.is_empty() {
        object.insert("description".into(), about.into());
    }
    object.insert("properties".into(), properties.into());
    if !required.is_empty() {
        object.insert("required".into(), required.into());
    }
    object.insert("additionalProperties".into(), false.into());
    object
}

fn property(tables: &[Table], path: &str, key: &Key) -> Value {
    let below = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
    let words: Vec<&str> =
        key.forms.iter().filter_map(|form| if let Form::Word(word) = form { Some(*word) } else { None }).collect();
    let mut forms: Vec<Value> = Vec::new();
    if !words.is_empty() {
        forms.push(json!({ "enum": words }));
    }
    let others = key.forms.iter().filter(|form| !matches!(form, Form::Word(_)));
    forms.extend(others.map(|form| form.schema(tables, &below)));
    let mut property = match forms.pop() {
        Some(Value::Object(only)) if forms.is_empty() => only,
        last => {
            forms.extend(last);
            Map::from_iter([("anyOf".to_owned(), Value::Array(forms))])
        }
    };
    if !key.about.is_empty() {
        property.insert("description".into(), key.about.into());
    }
    if let Some(default) = key.default_value().and_then(|value| serde_json::to_value(value).ok()) {
        property.insert("default".into(), default);
    }
    Value::Object(property)
}

impl Form {
    fn schema(self, tables: &[Table], path: &str) -> Value {
        let defined = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
        let text = || json!({ "type": "string" });
        match self {
            Self::Word(word) => json!({ "const": word }),
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Integer(first, last) => json!({ "type": "integer", "minimum": first, "maximum": last }),
            Self::Integers(first, last) => {
                let entry = json!({ "type": "integer", "minimum": first, "maximum": last });
                json!({ "type": "array", "items": entry, "minItems": 1 })
            }
            Self::Fraction(first, last) => json!({ "type": "number", "minimum": first, "maximum": last }),
            Self::Text => text(),
            Self::Texts => defined("texts"),
            Self::List => json!({ "type": "array", "items": text(), "minItems": 1 }),
            Self::Duration => defined("duration"),
            Self::Size => defined("size"),
            Self::Address => defined("address"),
            Self::Secret => defined("secret"),
            Self::Secrets => defined("secrets"),
            Self::Pem => defined("pem"),
            Self::Pems => defined("pems"),
            Self::Table => Value::Object(object(tables, path, "")),
            Self::Tables => json!({ "type": "array", "items": object(tables, path, ""), "minItems": 1 }),
            Self::Names => {
                let one = object(tables, &format!("{path}.*"), "");
                let name = json!({ "pattern": "^[A-Za-z0-9_.-]{1,64}$" });
                json!({ "type": "object", "propertyNames": name, "additionalProperties": one })
            }
            Self::Fields => json!({ "type": "object", "additionalProperties": text() }),
            Self::RepeatedFields => json!({ "type": "object", "additionalProperties": defined("texts") }),
        }
    }
}

/// What several keys have in common.
fn definitions() -> Value {
    let list = |of: &str| json!({ "type": "array", "items": { "$ref": format!("#/$defs/{of}") }, "minItems": 1 });
    let one_or_list = |of: &str| json!({ "anyOf": [{ "$ref": format!("#/$defs/{of}") }, list(of)] });
    let plain = |about: &str| json!({ "type": "string", "description": about });
    let place = json!({ "$ref": "#/$defs/place" });
    json!({
        "texts": { "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] },
        "duration": {
            "type": "string",
            "pattern": "^[ ]*([0-9]+([.][0-9]+)?[ ]*[A-Za-zµ]+[ ]*)+$",
            "description": "a number and its unit: \"500ms\", \"10s\", \"5m\", \"1h 30m\"",
        },
        "size": {
            "type": "string",
            "pattern": "^[0-9]+([.][0-9]+)?[ ]*[A-Za-z]+$",
            "description": "a number and its unit: \"64KiB\", \"1MiB\"",
        },
        "address": plain("an IP address or localhost with a port (0: a free one), or \"unix:/absolute/path\""),
        "secret": { "anyOf": [plain("the secret itself, which is warned about"), place] },
        "secrets": one_or_list("secret"),
        "pem": { "anyOf": [plain("a path, or the PEM itself"), place] },
        "pems": one_or_list("pem"),
        "place": {
            "type": "object",
            "description": "where a secret is",
            "properties": {
                "env": plain("an environment variable"),
                "file": plain("a file, relative to this one; a changed one is noticed"),
                "credential": plain("the name of a systemd credential (LoadCredential=)"),
                "command": { "type": "array", "items": { "type": "string" }, "minItems": 1, "description": "a program and its arguments; its output is the secret" },
                "field": plain("the member of a JSON document that is meant, such as \"a.b\""),
                "timeout": { "$ref": "#/$defs/duration", "description": "how long the program may take" },
            },
            "additionalProperties": false,
            "oneOf": [
                { "required": ["env"] },
                { "required": ["file"] },
                { "required": ["credential"] },
                { "required": ["command"] },
            ],
        },
    })
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
