//! What `attache schema` tells an editor, held against every configuration that this repository shows.

use std::path::Path;

use serde_json::Value;

use crate::support::Folder;

/// A JSON schema of the keywords that ours uses, without `pattern`.
struct Schema(Value);

impl Schema {
    /// Every place that does not fit; empty for a document that does.
    fn problems(&self, document: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        self.check(&self.0, document, "", &mut problems);
        problems
    }

    fn fits(&self, schema: &Value, document: &Value) -> bool {
        let mut problems = Vec::new();
        self.check(schema, document, "", &mut problems);
        problems.is_empty()
    }

    fn check(&self, schema: &Value, document: &Value, at: &str, problems: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix("#/$defs/").unwrap();
            self.check(&self.0["$defs"][name], document, at, problems);
        }
        let kind = match document {
            Value::Object(_) => "object",
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::Null => "null",
        };
        if let Some(wanted) = schema["type"].as_str()
            && wanted != kind
            && (wanted, kind) != ("number", "integer")
        {
            problems.push(format!("{at} is {kind}, not {wanted}"));
            return;
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(document)
        {
            problems.push(format!("{at} is none of {words:?}"));
        }
        // Of all patterns the one that tells a text with a variable in it from any other.
        if schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("[$][{]"))
            && !document.as_str().unwrap_or_default().contains("${")
        {
            problems.push(format!("{at} has no variable in it"));
        }
        for (keyword, least, most) in [("anyOf", 1, usize::MAX), ("oneOf", 1, 1)] {
            if let Some(alternatives) = schema[keyword].as_array() {
                let fitting = alternatives.iter().filter(|schema| self.fits(schema, document)).count();
                if !(least..=most).contains(&fitting) {
                    problems.push(format!("{at} fits {fitting} alternatives of {keyword}"));
                }
            }
        }
        let number = document.as_f64().unwrap_or_default();
        let within = schema["minimum"].as_f64().is_none_or(|least| number >= least)
            && schema["maximum"].as_f64().is_none_or(|most| number <= most);
        if document.is_number() && !within {
            problems.push(format!("{at} is out of range"));
        }
        if let (Some(entries), Some(items)) = (document.as_array(), schema.get("items")) {
            if entries.len() < usize::try_from(schema["minItems"].as_u64().unwrap_or(0)).unwrap() {
                problems.push(format!("{at} is too short"));
            }
            for entry in entries {
                self.check(items, entry, at, problems);
            }
        }
        let Some(members) = document.as_object() else { return };
        for required in schema["required"].as_array().into_iter().flatten() {
            if !members.contains_key(required.as_str().unwrap()) {
                problems.push(format!("{at}.{} is missing", required.as_str().unwrap()));
            }
        }
        for (name, member) in members {
            let at = format!("{at}.{name}");
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(known), _) => self.check(known, member, &at, problems),
                (None, Some(Value::Bool(false))) => problems.push(format!("{at} is unknown")),
                (None, Some(other)) => self.check(other, member, &at, problems),
                (None, None) => {}
            }
        }
    }
}

async fn schema() -> Schema {
    let finished = Folder::new().run(&["schema"]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    Schema(finished.json())
}

fn document(toml: &str) -> Value {
    serde_json::to_value(toml.parse::<toml::Table>().unwrap_or_else(|error| panic!("{error}\n{toml}"))).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of TOML on the pages of this repository, with their page.
fn blocks() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).chain([root().join("README.md")]);
    let mut blocks = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let fenced = text.split("\n```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("toml\n"));
        blocks.extend(fenced.map(|block| (page.display().to_string(), block.to_owned())));
    }
    blocks
}

#[tokio::test]
async fn every_configuration_that_is_shown_fits_the_schema() {
    let schema = schema().await;
    let reference = std::fs::read_to_string(root().join("proxy.toml")).unwrap();
    assert_eq!(schema.problems(&document(&reference)), [""; 0], "proxy.toml");
    let blocks = blocks();
    assert!(blocks.len() > 10, "{}", blocks.len());
    for (page, block) in blocks {
        let mut document = document(&block);
        // A block shows a part of a file.
        let members = document.as_object_mut().unwrap();
        members.entry("listeners").or_insert_with(|| serde_json::json!({}));
        assert_eq!(schema.problems(&document), [""; 0], "{page}:\n{block}");
    }
}

#[tokio::test]
async fn what_attache_refuses_does_not_fit_the_schema_either() {
    let schema = schema().await;
    let listener = "[listeners.a]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";
    assert_eq!(schema.problems(&document(listener)), [""; 0]);
    for (wrong, problem) in [
        ("[listener.a]\n", ".listener is unknown"),
        ("[limits]\ndrian = \"1s\"\n", ".limits.drian is unknown"),
        ("[limits]\ndrain = 1\n", ".limits.drain fits 0 alternatives"),
        ("[limits]\nconnections = 0\n", ".limits.connections fits 0 alternatives"),
        ("[listeners.b]\nmode = \"froward\"\n", ".listeners.b.address is missing"),
        ("[listeners.b]\naddress = \"x\"\nmode = \"froward\"\n", ".listeners.b.mode fits 0 alternatives"),
        (
            "[upstreams.a]\norigin = \"https://a.test\"\nretry = { on = [600] }\n",
            ".upstreams.a.retry.on fits 0 alternatives",
        ),
        ("[callers.a]\npassword = { env = \"A\", file = \"b\" }\n", ".callers.a.password fits 0 alternatives"),
    ] {
        let found = schema.problems(&document(&format!("{listener}{wrong}")));
        assert!(found.iter().any(|line| line.starts_with(problem)), "{wrong}: {found:?}");
    }
}

#[tokio::test]
async fn values_from_the_environment_fit_the_schema() {
    let schema = schema().await;
    let text = "include = [\"conf.d/*.toml\", \"${MORE}\"]\n[listeners.a]\naddress = { env = \"ADDRESS\" }\nmode = \"${MODE:-forward}\"\nopen = \"${OPEN}\"\n\
        [limits]\ndrain = { env = \"DRAIN\" }\nconnections = \"${CONNECTIONS}\"\nheader_bytes = \"${BYTES}\"\n\
        [credentials.a]\ntoken_endpoint = \"${URL}\"\nclient_id = { env = \"ID\" }\nclient_secret = \"${SECRET}\"\nscope = { env = \"SCOPES\" }\n\
        parameters = { env = \"prod\", tenant = { env = \"TENANT\" } }\nrefresh_ahead = \"${AHEAD}\"\n";
    assert_eq!(schema.problems(&document(text)), [""; 0]);
    let wrong = "[limits]\ndrain = { evn = \"DRAIN\" }\n[listeners]\n";
    assert!(schema.problems(&document(wrong))[0].starts_with(".limits.drain fits 0 alternatives"));
}

#[tokio::test]
async fn what_init_writes_fits_the_schema_and_names_none_that_is_not_there() {
    let schema = schema().await;
    for args in [&["init"][..], &["init", "--preset", "keycloak"], &["init", "--preset", "google"]] {
        let folder = Folder::new();
        assert_eq!(folder.run(args).await.code, Some(0));
        let written = folder.read("proxy.toml");
        assert!(!written.starts_with("#:schema"), "{written}");
        assert_eq!(schema.problems(&document(&written)), [""; 0], "{args:?}");
    }
}

#[tokio::test]
async fn the_reference_page_is_printed_too() {
    let finished = Folder::new().run(&["schema", "--format", "markdown"]).await;
    assert_eq!(finished.code, Some(0));
    assert_eq!(finished.stdout, std::fs::read_to_string(root().join("docs/configuration.md")).unwrap());
}
