//! A configuration in the making: the starter, in which answers take the place of its examples. Comments and layout stay,
//! and speak of the same places as the keys.

use std::path::Path;

use toml_edit::{Decor, DocumentMut, InlineTable, Item, Key, RawString, Table, Value};

use crate::config::cli_args::SecretPlace;
use crate::config::generate::starter::{STARTER, starter};
use crate::config::syntax::error::ConfigErrors;
use crate::config::tables::credentials::preset::Provider;
use crate::config::types::Config;

/// What marks a value that has to be changed.
const MARK: &str = "# <-- ";

/// The name of credential and upstream in the starter.
const NAME: &str = "orders";

/// The origin in the starter's comments.
const ORIGIN: &str = "https://orders.example.com";

const ADDRESS: &str = "127.0.0.1:8080";

const VARIABLE: &str = "ORDERS_CLIENT_SECRET";

/// The starter, and what has been answered so far.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    document: DocumentMut,
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
    pub(crate) key: String,
    /// What it is, in a few words.
    pub(crate) about: String,
    /// What stands there until it is answered.
    pub(crate) example: String,
}

impl Draft {
    /// The starter, of a provider perhaps.
    pub(crate) fn new(provider: Option<Provider>) -> Self {
        let document = starter(provider);
        let mut draft = Self { document, name: NAME.into(), origin: ORIGIN.into(), address: None, secret: None };
        let origin = draft.questions().into_iter().find(|question| question.key == "origin");
        if let Some(question) = origin {
            draft.origin = question.example;
        }
        draft
    }

    /// What is still open, in the order of the file.
    pub(crate) fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for section in ["credentials", "upstreams"] {
            for (key, item) in table(&self.document, section, NAME).into_iter().flat_map(Table::iter) {
                // A value that is no text is a secret's place, and has a question of its own.
                let Some((example, about)) = item.as_str().zip(item.as_value().and_then(marked)) else { continue };
                let (key, about, example) = (key.to_owned(), about.to_owned(), example.to_owned());
                questions.push(Question { table: section, key, about, example });
            }
        }
        questions
    }

    /// Answers a key of `[credentials.X]` or `[upstreams.X]`; one that the starter does not have is added.
    pub(crate) fn answer(&mut self, section: &str, key: &str, value: &str) {
        if key == "origin" {
            value.clone_into(&mut self.origin);
        }
        if key == "issuer" {
            // It stands in the place of what is looked up by it.
            self.rename_key(section, "token_endpoint", Key::new(key));
        }
        self.set(section, NAME, key, value.into());
    }

    /// Where the client's secret is; for Google, its key file.
    pub(crate) fn answer_secret(&mut self, place: &SecretPlace) {
        let (word, text) = match place {
            SecretPlace::Env(name) => ("env", name.clone()),
            SecretPlace::File(path) => ("file", path.display().to_string()),
        };
        let mut value = InlineTable::new();
        value.insert(word, text.into());
        let signs = table(&self.document, "credentials", NAME).is_some_and(|table| table.contains_key("private_key"));
        if signs {
            value.insert("field", "private_key".into());
        }
        self.set("credentials", NAME, if signs { "private_key" } else { "client_secret" }, value.into());
        self.secret = Some(place.clone());
    }

    /// Where programs with `HTTP_PROXY` connect.
    pub(crate) fn answer_address(&mut self, address: &str) {
        self.set("listeners", "proxy", "address", address.into());
        self.address = Some(address.to_owned());
    }

    /// The name of credential and upstream: letters, digits, `_` and `-`.
    pub(crate) fn answer_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// A name that fits the origin: its first label that says something.
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
    pub(crate) fn text(&self) -> String {
        let mut document = self.document.clone();
        let open = has_marks(&document);
        let words = ["Change the three values marked with <--, then:", "Change the values marked with <--, then:"];
        let head = match self.document.to_string() == STARTER {
            true => words[0],
            false if open => words[1],
            false => "Written by `attache init`. Now:",
        };
        let plain = self.origin.replacen("https://", "http://", 1);
        let variable = self.variable();
        rewrite_comments(&mut document, &|comment| {
            let comment = words.iter().fold(comment.to_owned(), |text, word| text.replace(word, head));
            let comment = comment.replace(ADDRESS, self.address.as_deref().unwrap_or(ADDRESS));
            let comment = comment.replace(ORIGIN, &self.origin).replace("http://orders.example.com", &plain);
            let comment = self.with_secret(&comment).replace(VARIABLE, &variable);
            comment
                .replace(&format!(".{NAME}]"), &format!(".{}]", self.name))
                .replace(&format!("upstream = \"{NAME}\""), &format!("upstream = \"{}\"", self.name))
        });
        self.rename(&mut document, &variable);
        document.to_string()
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

    /// The variable that comments speak of.
    fn variable(&self) -> String {
        match &self.secret {
            Some(SecretPlace::Env(name)) => name.clone(),
            _ if self.name == NAME => VARIABLE.to_owned(),
            _ => format!("{}_CLIENT_SECRET", self.name.to_ascii_uppercase().replace('-', "_")),
        }
    }

    /// The line of a comment that sets the variable has no meaning where the secret is in a file.
    fn with_secret(&self, comment: &str) -> String {
        let Some(SecretPlace::File(path)) = &self.secret else { return comment.to_owned() };
        let hint = format!("#   (put the client's secret into {})\n", path.display());
        let line = |line: &str| if line.starts_with("#   export ") { hint.clone() } else { line.to_owned() };
        comment.split_inclusive('\n').map(line).collect()
    }

    /// Gives the tables of credential and upstream their name, and what refers to them.
    fn rename(&self, document: &mut DocumentMut, variable: &str) {
        for section in ["credentials", "upstreams"] {
            let Some(tables) = document.get_mut(section).and_then(Item::as_table_mut) else { continue };
            if let Some(mut table) = tables.remove(NAME) {
                for (_, item) in table.as_table_mut().into_iter().flat_map(Table::iter_mut) {
                    if let Some(place) = item.get_mut("env").and_then(Item::as_value_mut)
                        && place.as_str() == Some(VARIABLE)
                    {
                        replace(place, variable.into());
                    }
                    let Some(value) = item.as_value_mut() else { continue };
                    if value.as_str() == Some(ORIGIN) {
                        replace(value, self.origin.as_str().into());
                    }
                }
                if let Some(reference) = table.get_mut("credential").and_then(Item::as_value_mut) {
                    replace(reference, self.name.as_str().into());
                }
                tables.insert(&self.name, table);
            }
        }
    }

    /// Puts a value in the place of a key's, which may be commented out; or into a new line below the header.
    fn set(&mut self, section: &str, name: &str, key: &str, value: Value) {
        if table(&self.document, section, name).is_some_and(|table| !table.contains_key(key)) {
            self.uncomment(section, name, key);
        }
        let Some(table) = table_mut(&mut self.document, section, name) else { return };
        match table.get_mut(key).and_then(Item::as_value_mut) {
            Some(old) => answer(old, value),
            None => insert_at(table, 0, &Key::new(key), value),
        }
    }

    /// Makes a key of a line `#key = …`, which is a part of the comment above another key or the next header.
    fn uncomment(&mut self, section: &str, name: &str, key: &str) {
        let Some(table) = table_mut(&mut self.document, section, name) else { return };
        let keys: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
        for (place, below) in keys.iter().enumerate() {
            let Some(mut below) = table.key_mut(below) else { continue };
            if let Some((key, value)) = take_line(below.leaf_decor_mut(), key) {
                insert_at(table, place, &key, value);
                return;
            }
        }
        // Upstreams follow credentials in every starter.
        let header = table_mut(&mut self.document, "upstreams", NAME).filter(|_| section == "credentials");
        if let Some((key, value)) = header.and_then(|header| take_line(header.decor_mut(), key))
            && let Some(table) = table_mut(&mut self.document, section, name)
        {
            insert_at(table, keys.len(), &key, value);
        }
    }

    fn rename_key(&mut self, section: &str, old: &str, new: Key) {
        let Some(table) = table_mut(&mut self.document, section, NAME) else { return };
        let Some(place) = table.iter().position(|(key, _)| key == old) else { return };
        let Some((key, Item::Value(value))) = table.remove_entry(old) else { return };
        // As wide as before, so that the columns stay.
        let width = (key.get().len() + shown(key.leaf_decor().suffix()).len()).saturating_sub(new.get().len());
        let decor = Decor::new(shown(key.leaf_decor().prefix()), " ".repeat(width.max(1)));
        insert_at(table, place, &new.with_leaf_decor(decor), value);
    }
}

fn table<'d>(document: &'d DocumentMut, section: &str, name: &str) -> Option<&'d Table> {
    document.get(section)?.get(name)?.as_table()
}

fn table_mut<'d>(document: &'d mut DocumentMut, section: &str, name: &str) -> Option<&'d mut Table> {
    document.get_mut(section)?.get_mut(name)?.as_table_mut()
}

/// What is said of a value that has to be changed.
fn marked(value: &Value) -> Option<&str> {
    shown(value.decor().suffix()).split_once(MARK).map(|(_, about)| about)
}

fn has_marks(document: &DocumentMut) -> bool {
    ["credentials", "upstreams"].into_iter().any(|section| {
        let values = table(document, section, NAME).into_iter().flat_map(Table::iter);
        values.filter_map(|(_, item)| item.as_value()).any(|value| marked(value).is_some())
    })
}

/// An answered value is marked no more. Its comment stays where it was, if there is room.
fn answer(old: &mut Value, new: Value) {
    let comment = marked(old).map(|about| {
        let suffix = shown(old.decor().suffix());
        let space = suffix.len() - suffix.trim_start().len();
        let column = width(old) + space;
        format!("{}# {about}", " ".repeat(column.saturating_sub(width(&new)).max(2)))
    });
    replace(old, new);
    old.decor_mut().set_suffix(comment.unwrap_or_default());
}

fn replace(old: &mut Value, new: Value) {
    let decor = old.decor().clone();
    *old = new;
    *old.decor_mut() = decor;
}

fn width(value: &Value) -> usize {
    value.clone().decorated("", "").to_string().chars().count()
}

fn insert_at(table: &mut Table, place: usize, key: &Key, value: Value) {
    let mut order: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
    order.insert(place.min(order.len()), key.get().to_owned());
    table.insert_formatted(key, Item::Value(value));
    let rank = |key: &Key| order.iter().position(|known| known == key.get());
    table.sort_values_by(|one, _, other, _| rank(one).cmp(&rank(other)));
}

/// Takes the line `#key = value` out of a comment. What stands above it goes with the key.
fn take_line(decor: &mut Decor, key: &str) -> Option<(Key, Value)> {
    let comment = shown(decor.prefix()).to_owned();
    let mut at = 0;
    for line in comment.split_inclusive('\n') {
        let found = line.strip_prefix('#').and_then(|code| code.parse::<DocumentMut>().ok());
        if let Some((mut key, Item::Value(value))) = found.and_then(|mut found| found.remove_entry(key)) {
            decor.set_prefix(comment.get(at + line.len()..).unwrap_or_default());
            key.leaf_decor_mut().set_prefix(comment.get(..at).unwrap_or_default());
            return Some((key, value));
        }
        at += line.len();
    }
    None
}

fn rewrite_comments(document: &mut DocumentMut, rewrite: &dyn Fn(&str) -> String) {
    rewrite_table(document.as_table_mut(), rewrite);
    let trailing = rewrite(shown(Some(document.trailing())));
    document.set_trailing(trailing);
}

fn rewrite_table(table: &mut Table, rewrite: &dyn Fn(&str) -> String) {
    rewrite_decor(table.decor_mut(), rewrite);
    for (mut key, item) in table.iter_mut() {
        match item {
            Item::Table(below) => rewrite_table(below, rewrite),
            Item::Value(value) => {
                rewrite_decor(key.leaf_decor_mut(), rewrite);
                rewrite_decor(value.decor_mut(), rewrite);
            }
            Item::None | Item::ArrayOfTables(_) => {}
        }
    }
}

fn rewrite_decor(decor: &mut Decor, rewrite: &dyn Fn(&str) -> String) {
    if let Some(comment) = decor.prefix().and_then(RawString::as_str).map(rewrite) {
        decor.set_prefix(comment);
    }
    if let Some(comment) = decor.suffix().and_then(RawString::as_str).map(rewrite) {
        decor.set_suffix(comment);
    }
}

fn shown(raw: Option<&RawString>) -> &str {
    raw.and_then(RawString::as_str).unwrap_or_default()
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
        assert_eq!(Draft::new(None).text(), STARTER);
        for (name, provider) in PROVIDERS {
            let draft = Draft::new(Some(provider));
            draft.check().unwrap();
            // The comments may speak of the provider's own origin.
            let keys = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
            assert_eq!(keys(&draft.text()), keys(&starter(Some(provider)).to_string()), "{name}");
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
