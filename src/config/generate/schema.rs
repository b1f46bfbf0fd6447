//! What editors are told of the file, made of the table of keys.

use serde_json::{Map, Value, json};

use crate::config::generate::keys::{Form, Key, Table, tables};

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
    // A secret has its places, and a table stands in the file itself.
    if key.forms.iter().any(|form| form.is_value()) {
        forms.push(json!({ "$ref": "#/$defs/variable" }));
        if !key.forms.iter().any(|form| form.takes_text()) {
            forms.push(json!({ "$ref": "#/$defs/substituted" }));
        }
    }
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
    /// True for what `{ env = "NAME" }` may stand in place of.
    const fn is_value(self) -> bool {
        !matches!(
            self,
            Self::Secret
                | Self::Secrets
                | Self::Pem
                | Self::Pems
                | Self::Table
                | Self::Tables
                | Self::Names
                | Self::Fields
                | Self::RepeatedFields
        )
    }

    /// True for what is any text already, a `${NAME}` with it.
    const fn takes_text(self) -> bool {
        matches!(self, Self::Text | Self::Texts | Self::Address)
    }

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
            Self::Fields => {
                let value = json!({ "anyOf": [text(), defined("variable")] });
                json!({ "type": "object", "additionalProperties": value })
            }
            Self::RepeatedFields => {
                let value = json!({ "anyOf": [defined("texts"), defined("variable")] });
                json!({ "type": "object", "additionalProperties": value })
            }
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
        "variable": {
            "type": "object",
            "description": "what the environment variable of this name holds",
            "properties": { "env": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" } },
            "required": ["env"],
            "additionalProperties": false,
        },
        "substituted": {
            "type": "string",
            "pattern": "[$][{][A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?[}]",
            "description": "a text with environment variables in it: ${NAME}, ${NAME:-default}",
        },
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
