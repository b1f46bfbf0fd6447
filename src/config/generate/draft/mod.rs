//! A configuration in the making: the starter, in which answers take the place of its examples. Comments and layout stay,
//! and speak of the same places as the keys.

mod edit;
mod follow;
mod question;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

use toml_edit::{Decor, DocumentMut, InlineTable, Item, Key, Value};

use self::edit::{append, insert_at, key_width, shown, table, table_mut, take_line};
use self::follow::{Origin, origin_after};
pub(crate) use self::question::{Enter, Question};
use self::text::{NAME, Places};
pub(crate) use self::text::{SecretFile, step_line};
use crate::config::cli_args::SecretPlace;
use crate::config::generate::starter::starter;
use crate::config::syntax::error::ConfigErrors;
use crate::config::tables::credentials::preset::Provider;
use crate::config::types::Config;

/// What the starter says of the token endpoint, and what is true of an issuer.
const ISSUES: &str = "the URL that issues tokens";
const LOOKED_UP: &str = "the token endpoint is looked up there";

/// The starter, and what has been answered so far.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    document: DocumentMut,
    provider: Option<Provider>,
    places: Places,
    /// The origin that stands there is made of earlier answers.
    followed: bool,
}

impl Draft {
    /// The starter, of a provider perhaps.
    pub(crate) fn new(provider: Option<Provider>) -> Self {
        let mut draft = Self { document: starter(provider), provider, places: Places::default(), followed: false };
        draft.places.secret_file = draft.secret_file();
        if let Some(origin) = draft.value("upstreams", "origin") {
            draft.places.origin = origin;
        }
        draft
    }

    /// What is to be asked, in the order of the file.
    pub(crate) fn questions(&self) -> Vec<Question> {
        question::questions(&self.document, self.provider)
    }

    /// Whether an example is left that has to be changed.
    pub(crate) fn has_examples(&self) -> bool {
        text::has_examples(&self.document)
    }

    /// What Enter gives at this question by now: what later keys are may follow from earlier ones.
    pub(crate) fn enter(&self, question: &Question) -> Enter {
        match &question.enter {
            Enter::Example(example) if question.key == "origin" => {
                if self.followed {
                    Enter::Value(self.places.origin.clone())
                } else {
                    Enter::Example(example.clone())
                }
            }
            enter => enter.clone(),
        }
    }

    /// Answers a key of `[credentials.X]` or `[upstreams.X]`; one that the starter does not have is added.
    pub(crate) fn answer(&mut self, section: &str, key: &str, value: &str) {
        if key == "origin" {
            value.clone_into(&mut self.places.origin);
        }
        if key == "issuer" {
            // It stands in the place of what is looked up by it.
            self.rename_key(section, "token_endpoint", Key::new(key));
        }
        self.set(section, NAME, key, value.into());
        match origin_after(self.provider, key, value) {
            Some(Origin::Is(origin)) => {
                self.answer("upstreams", "origin", &origin);
                self.followed = true;
            }
            Some(Origin::Perhaps(origin)) => {
                if let Some(old) = table_mut(&mut self.document, "upstreams", NAME)
                    .and_then(|table| table.get_mut("origin")?.as_value_mut())
                {
                    edit::suggest(old, origin.as_str().into());
                }
                self.places.origin = origin;
                self.followed = true;
            }
            None => {}
        }
    }

    /// Where the client's secret is, or the file in its place.
    pub(crate) fn answer_secret(&mut self, place: &SecretPlace) {
        let (word, text) = match place {
            SecretPlace::Credential(name) => ("credential", name.clone()),
            SecretPlace::Env(name) => ("env", name.clone()),
            SecretPlace::File(path) => ("file", path.display().to_string()),
        };
        let mut value = InlineTable::new();
        value.insert(word, text.into());
        let file = self.secret_file();
        if file == Some(SecretFile::ServiceAccount) {
            value.insert("field", "private_key".into());
        }
        self.set("credentials", NAME, file.map_or("client_secret", SecretFile::key), value.into());
        self.places.secret = Some(place.clone());
    }

    /// The file by which the client proves itself, where it has no secret of words.
    pub(crate) fn secret_file(&self) -> Option<SecretFile> {
        let table = table(&self.document, "credentials", NAME)?;
        [SecretFile::ServiceAccount, SecretFile::PlatformToken].into_iter().find(|file| table.contains_key(file.key()))
    }

    /// Where programs with `HTTP_PROXY` connect.
    pub(crate) fn answer_address(&mut self, address: &str) {
        self.set("listeners", "proxy", "address", address.into());
        self.places.address = Some(address.to_owned());
    }

    /// The name of credential and upstream: letters, digits, `_` and `-`.
    pub(crate) fn answer_name(&mut self, name: &str) {
        name.clone_into(&mut self.places.name);
    }

    /// The file that it will be, where the commands would not find it by themselves.
    pub(crate) fn in_file(&mut self, path: &Path) {
        self.places.file = Some(path.to_owned());
    }

    /// The profile that it will be.
    pub(crate) fn in_profile(&mut self, name: &str) {
        self.places.profile = Some(name.to_owned());
    }

    /// A name that fits: the provider's where it is one API, else the origin's first label that says something.
    pub(crate) fn name(&self) -> String {
        match self.provider {
            Some(Provider::Paypal) => "paypal".into(),
            Some(Provider::Salesforce) => "salesforce".into(),
            _ => follow::name_of(&self.places.origin),
        }
    }

    /// The variable that the secret is in, unless it is told to be elsewhere.
    pub(crate) fn variable(&self) -> String {
        self.places.variable()
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        text::text(&self.document, &self.places)
    }

    /// What to do next, a command and what it is for each.
    pub(crate) fn steps(&self) -> [(String, &'static str); 3] {
        self.places.steps()
    }

    /// Whether `check` will take it, once the secret is where it is said to be.
    ///
    /// # Errors
    /// Every problem of the answers; their keys have no table before them, since nobody has seen one yet.
    pub(crate) fn check(&self) -> Result<(), ConfigErrors> {
        let mut draft = self.clone();
        draft.answer_secret(&SecretPlace::Env("ATTACHE_INIT".into()));
        let there = |_: &str| Some(r#"{"private_key":"x"}"#.to_owned());
        Config::parse_with("the answers", &draft.text(), Path::new(""), &there).map(drop).map_err(|mut errors| {
            // Lines of a file that is not written yet would only confuse.
            for problem in &mut errors.problems {
                problem.at = None;
                if let Some(key) = &mut problem.key {
                    *key = key.rsplit('.').next().unwrap_or_default().to_owned();
                }
            }
            errors
        })
    }

    fn value(&self, section: &str, key: &str) -> Option<String> {
        Some(table(&self.document, section, NAME)?.get(key)?.as_str()?.to_owned())
    }

    /// Puts a value in the place of a key's, which may be commented out; or into a new line below the others.
    fn set(&mut self, section: &str, name: &str, key: &str, value: Value) {
        if table(&self.document, section, name).is_some_and(|table| !table.contains_key(key)) {
            self.uncomment(section, name, key);
        }
        let Some(table) = table_mut(&mut self.document, section, name) else { return };
        match table.get_mut(key).and_then(Item::as_value_mut) {
            Some(old) => edit::answer(old, value),
            None => append(table, key, value),
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
        let Some((key, Item::Value(mut value))) = table.remove_entry(old) else { return };
        let about = shown(value.decor().suffix()).replace(ISSUES, LOOKED_UP);
        value.decor_mut().set_suffix(about);
        // As wide as before, so that the columns stay.
        let width = key_width(&key).saturating_sub(new.get().len());
        let decor = Decor::new(shown(key.leaf_decor().prefix()), " ".repeat(width.max(1)));
        insert_at(table, place, &new.with_leaf_decor(decor), value);
    }
}
