//! A configuration in the making: the starter, in which answers take the place of its examples. The text is kept as it is
//! around them, comments and all.

use std::path::Path;

use toml::Value;

use crate::config::generate::starter::starter;
use crate::config::tables::credentials::preset::Provider;
use crate::config::{Config, ConfigErrors, SecretPlace};

/// What marks a value that somebody has to change.
const MARK: &str = "# <-- ";

/// The name of credential and upstream in the starter.
const NAME: &str = "orders";

/// The origin in the starter's comments.
const ORIGIN: &str = "https://orders.example.com";

const VARIABLE: &str = "ORDERS_CLIENT_SECRET";

/// The starter, and what has been answered so far.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    text: String,
    name: String,
    origin: String,
    address: Option<String>,
    secret: Option<SecretPlace>,
}

/// A value that only the user knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The table: `credentials` or `upstreams`.
    pub(crate) table: &'static str,
    /// The key.
    pub(crate) key: String,
    /// What it is, in a few words.
    pub(crate) about: String,
    /// What stands there until it is answered.
    pub(crate) example: String,
}

impl Draft {
    /// The starter, of a provider perhaps.
    #[must_use]
    pub(crate) fn new(provider: Option<Provider>) -> Self {
        let text = starter(provider);
        let mut draft = Self { text, name: NAME.into(), origin: ORIGIN.into(), address: None, secret: None };
        let origin = draft.questions().into_iter().find(|question| question.key == "origin");
        if let Some(question) = origin {
            draft.origin = question.example;
        }
        draft
    }

    /// What is still open, in the order of the file.
    #[must_use]
    pub(crate) fn questions(&self) -> Vec<Question> {
        let mut table = "";
        let mut questions = Vec::new();
        for line in self.text.lines() {
            if line.starts_with('[') {
                table = line;
            }
            let Some((code, about)) = line.split_once(MARK).filter(|_| !line.starts_with('#')) else { continue };
            let Some((key, value)) = code.split_once('=') else { continue };
            let table = if table.starts_with("[upstreams.") { "upstreams" } else { "credentials" };
            // A value that is no text is a secret's place, and has a question of its own.
            let Some(example) = value.trim().strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
                continue;
            };
            let (key, about, example) = (key.trim().to_owned(), about.to_owned(), example.to_owned());
            questions.push(Question { table, key, about, example });
        }
        questions
    }

    /// Answers a key of `[credentials.X]` or `[upstreams.X]`; one that the starter does not have is added.
    pub(crate) fn answer(&mut self, table: &str, key: &str, value: &str) {
        if key == "origin" {
            value.clone_into(&mut self.origin);
        }
        if key == "issuer" {
            // It stands in the place of what is looked up by it.
            self.text = self.text.replace("token_endpoint =", "issuer         =");
        }
        self.put(&format!("[{table}.{NAME}]"), key, &Value::String(value.to_owned()).to_string());
    }

    /// Where the client's secret is; for Google, its key file.
    pub(crate) fn answer_secret(&mut self, place: &SecretPlace) {
        let (word, text) = match place {
            SecretPlace::Env(name) => ("env", name.clone()),
            SecretPlace::File(path) => ("file", path.display().to_string()),
        };
        let table = format!("[credentials.{NAME}]");
        let quoted = Value::String(text);
        if self.text.contains("\nprivate_key = ") {
            self.put(&table, "private_key", &format!("{{ {word} = {quoted}, field = \"private_key\" }}"));
        } else {
            self.put(&table, "client_secret", &format!("{{ {word} = {quoted} }}"));
        }
        self.secret = Some(place.clone());
    }

    /// Where programs with `HTTP_PROXY` connect.
    pub(crate) fn answer_address(&mut self, address: &str) {
        self.put("[listeners.proxy]", "address", &Value::String(address.to_owned()).to_string());
        self.address = Some(address.to_owned());
    }

    /// The name of credential and upstream: letters, digits, `_` and `-`.
    pub(crate) fn answer_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// A name that fits the origin: its first label that says something.
    #[must_use]
    pub(crate) fn name_by_origin(&self) -> String {
        let host = self.origin.split("://").nth(1).unwrap_or(&self.origin);
        let labels = host.split([':', '/']).next().unwrap_or(host).split('.');
        let says = |label: &&str| {
            !["api", "www", "*", ""].contains(label) && label.bytes().any(|byte| byte.is_ascii_alphabetic())
        };
        let name = labels.take(2).find(says).unwrap_or("api");
        name.chars().filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')).collect()
    }

    /// The file.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut text = self.text.clone();
        if let Some(address) = &self.address {
            text = text.replace("127.0.0.1:8080", address);
        }
        // Comments speak of the same place as the keys.
        text = text.replace(ORIGIN, &self.origin);
        let plain = self.origin.replacen("https://", "http://", 1);
        text = text.replace("http://orders.example.com", &plain);
        match &self.secret {
            Some(SecretPlace::Env(name)) => text = text.replace(VARIABLE, name),
            Some(SecretPlace::File(path)) => {
                let hint = format!("#   (put the client's secret into {})\n", path.display());
                let line = text.lines().find(|line| line.starts_with("#   export ")).map(|line| format!("{line}\n"));
                text = line.map_or(text.clone(), |line| text.replace(&line, &hint));
            }
            None => {}
        }
        if self.name != NAME {
            text = self.renamed(&text);
        }
        let open = text.lines().any(|line| !line.starts_with('#') && line.contains(MARK));
        let words = ["Change the three values marked with <--, then:", "Change the values marked with <--, then:"];
        let head = if open { words[1] } else { "Written by `attache init`. Now:" };
        if self.text == starter(None) { text } else { words.iter().fold(text, |text, word| text.replace(word, head)) }
    }

    fn renamed(&self, text: &str) -> String {
        let variable: String = self.name.to_ascii_uppercase().replace('-', "_");
        let name = &self.name;
        text.replace(&format!(".{NAME}]"), &format!(".{name}]"))
            .replace(&format!("credential = \"{NAME}\""), &format!("credential = \"{name}\""))
            .replace(&format!("upstream = \"{NAME}\""), &format!("upstream = \"{name}\""))
            .replace(VARIABLE, &format!("{variable}_CLIENT_SECRET"))
    }

    /// Whether `check` will take it, once the secret is where it is said to be.
    ///
    /// # Errors
    /// Every problem of the answers.
    pub(crate) fn check(&self) -> Result<(), ConfigErrors> {
        let mut draft = self.clone();
        draft.answer_secret(&SecretPlace::Env("ATTACHE_INIT".into()));
        let there = |_: &str| Some(r#"{"private_key":"x"}"#.to_owned());
        Config::parse_with("the answers", &draft.text(), Path::new(""), &there).map(drop).map_err(|mut errors| {
            // Lines of a file that is not written yet would only confuse.
            for problem in &mut errors.problems {
                problem.at = None;
            }
            errors
        })
    }

    /// Puts a value, as TOML, into the line of a key, which may be commented out; or into a new line below the header.
    fn put(&mut self, header: &str, key: &str, value: &str) {
        let mut inside = false;
        let mut done = false;
        let mut lines: Vec<String> = Vec::new();
        let mut below = 0;
        for line in self.text.lines() {
            if line.starts_with('[') {
                inside = line == header;
            }
            let written = line.strip_prefix('#').unwrap_or(line);
            let is_key = written.split_once('=').is_some_and(|(name, _)| name.trim_end() == key);
            if inside && !done && is_key {
                let name = written.split_once('=').map_or(key, |(name, _)| name);
                let changed = format!("{name}= {value}");
                lines.push(match line.split_once(MARK) {
                    // The comment stays where it was, if there is room.
                    Some((before, about)) => {
                        format!("{changed:<0$}# {about}", before.chars().count().max(changed.len() + 2))
                    }
                    None => changed,
                });
                done = true;
            } else {
                lines.push(line.to_owned());
            }
            if line == header {
                below = lines.len();
            }
        }
        if !done {
            lines.insert(below, format!("{key} = {value}"));
        }
        self.text = lines.join("\n") + "\n";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tables::credentials::preset::PROVIDERS;

    #[test]
    fn the_open_questions_are_the_marked_values() {
        let keys =
            |provider| Draft::new(provider).questions().into_iter().map(|question| question.key).collect::<Vec<_>>();
        assert_eq!(keys(None), ["token_endpoint", "client_id", "origin"]);
        assert_eq!(keys(Some(Provider::Entra)), ["tenant", "client_id", "scope", "origin"]);
        assert_eq!(keys(Some(Provider::Google)), ["client_id", "scope", "origin"]);
        let question = Draft::new(None).questions().remove(0);
        assert_eq!((question.table, question.about.as_str()), ("credentials", "where tokens are issued"));
        assert_eq!(question.example, "https://login.example.com/oauth2/token");
    }

    #[test]
    fn a_draft_without_answers_is_the_starter() {
        assert_eq!(Draft::new(None).text(), starter(None));
        for (name, provider) in PROVIDERS {
            let draft = Draft::new(Some(provider));
            draft.check().unwrap();
            // The comments may speak of the provider's own origin.
            let keys = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
            assert_eq!(keys(&draft.text()), keys(&starter(Some(provider))), "{name}");
        }
    }

    #[test]
    fn answers_take_the_place_of_the_examples_also_in_the_comments() {
        let mut draft = Draft::new(None);
        draft.answer("credentials", "issuer", "https://id.test");
        draft.answer("credentials", "client_id", "a \"b\"");
        draft.answer("credentials", "scope", "read write");
        draft.answer("credentials", "resource", "https://r.test");
        draft.answer("upstreams", "origin", "https://api.things.test:8443");
        draft.answer_secret(&SecretPlace::File("things.secret".into()));
        draft.answer_address("127.0.0.1:3128");
        assert_eq!(draft.name_by_origin(), "things");
        draft.answer_name("things");
        draft.check().unwrap();
        assert!(draft.questions().is_empty());
        let text = draft.text();
        for shown in [
            "\n[credentials.things]\n",
            "\nissuer         = \"https://id.test\"                             # where tokens are issued\n",
            "\nclient_secret  = { file = \"things.secret\" }\n",
            "\nscope         = \"read write\"\n",
            "\ncredential = \"things\"\n",
            "\n#upstream = \"things\"\n",
            "#   (put the client's secret into things.secret)\n",
            " Written by `attache init`. Now:\n",
            "curl --proxy http://127.0.0.1:3128 http://api.things.test:8443/\n",
        ] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
        for gone in ["orders", "ORDERS", "8080", "<--"] {
            assert!(!text.replace("orders.read", "").contains(gone), "{gone}: {text}");
        }
    }

    #[test]
    fn an_answer_that_check_would_refuse_is_refused_without_a_line() {
        let mut draft = Draft::new(None);
        draft.answer("credentials", "token_endpoint", "http://login.test/token");
        draft.answer("upstreams", "origin", "things.test");
        let errors = draft.check().unwrap_err();
        assert_eq!(errors.problems.len(), 2, "{errors}");
        assert!(
            errors.to_string().starts_with("the answers: `credentials.orders.token_endpoint` is plain http"),
            "{errors}"
        );
    }
}
