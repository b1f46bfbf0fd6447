//! The file that a draft is: names and comments speak of what was answered.

use std::path::{Path, PathBuf};

use toml_edit::{Decor, DocumentMut, Item, RawString, Table};

use super::edit::{marked, replace, shown, table};
use crate::config::cli_args::SecretPlace;
use crate::config::generate::starter::STARTER;

/// The name of credential and upstream in the starter.
pub(super) const NAME: &str = "orders";

/// The origin in the starter's comments.
const ORIGIN: &str = "https://orders.example.com";

const ADDRESS: &str = "127.0.0.1:8080";

const VARIABLE: &str = "ORDERS_CLIENT_SECRET";

/// A secret that is a file by its nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretFile {
    /// The key of a service account, as Google makes it.
    ServiceAccount,
    /// What the platform that a workload runs on says of it.
    PlatformToken,
}

impl SecretFile {
    /// Where the starter has it.
    pub(crate) const fn usual(self) -> &'static str {
        match self {
            Self::ServiceAccount => "service-account.json",
            Self::PlatformToken => "/var/run/secrets/tokens/google",
        }
    }

    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::ServiceAccount => "private_key",
            Self::PlatformToken => "subject_token",
        }
    }

    fn step(self, path: &str) -> String {
        match self {
            Self::ServiceAccount => format!("(put the key file of the service account at {path})"),
            Self::PlatformToken => format!("(let the platform keep its token at {path})"),
        }
    }
}

/// What comments speak of besides the keys.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) name: String,
    pub(super) origin: String,
    pub(super) address: Option<String>,
    pub(super) secret: Option<SecretPlace>,
    pub(super) file: Option<PathBuf>,
    pub(super) profile: Option<String>,
    /// The secret is a file by its nature.
    pub(super) secret_file: Option<SecretFile>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            name: NAME.into(),
            origin: ORIGIN.into(),
            address: None,
            secret: None,
            file: None,
            profile: None,
            secret_file: None,
        }
    }
}

impl Places {
    /// The variable that comments speak of.
    pub(super) fn variable(&self) -> String {
        match &self.secret {
            Some(SecretPlace::Env(name)) => name.clone(),
            // No variable begins with a digit.
            _ if self.name.starts_with(|first: char| first.is_ascii_digit()) => {
                format!("CLIENT_SECRET_{}", in_capitals(&self.name))
            }
            _ => format!("{}_CLIENT_SECRET", in_capitals(&self.name)),
        }
    }

    pub(super) fn steps(&self) -> [(String, &'static str); 3] {
        let file = self.file.as_deref().map(|path| format!(" --config {}", in_shell(path)));
        let profile = self.profile.as_deref().map(|name| format!(" -p {name}"));
        let config = profile.or(file).unwrap_or_default();
        if let Some(SecretPlace::Credential(name)) = &self.secret {
            let secret = format!("(have the unit load the secret: LoadCredential={name}:/etc/attache/{name}.secret)");
            let check = (format!("attache check{config}"), "is everything right?");
            return [(secret, ""), check, ("systemctl restart attache".to_owned(), "")];
        }
        let secret = match (&self.secret, self.secret_file) {
            (Some(SecretPlace::File(path)), Some(of)) => (of.step(&path.display().to_string()), ""),
            (None, Some(of)) => (of.step(of.usual()), ""),
            (Some(SecretPlace::File(path)), None) => (format!("(put the client's secret into {})", path.display()), ""),
            _ => (format!("export {}='…'", self.variable()), "the client's secret"),
        };
        let check = (format!("attache check --live{config}"), "is everything right, and is there a token?");
        [secret, check, (format!("attache run{config}"), "")]
    }
}

/// A step and what it is for, which is no part of the command.
pub(crate) fn step_line(command: &str, about: &str) -> String {
    match (command.chars().count(), about) {
        (_, "") => command.to_owned(),
        (..=36, about) => format!("{command:<36} {about}"),
        (_, about) => format!("{command}      # {about}"),
    }
}

fn in_capitals(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// As a shell takes it for one word.
fn in_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    if text.bytes().all(usual) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Whether an example is left that has to be changed.
pub(super) fn has_examples(document: &DocumentMut) -> bool {
    ["credentials", "upstreams"].into_iter().any(|section| {
        let values = table(document, section, NAME).into_iter().flat_map(Table::iter);
        values.filter_map(|(_, item)| item.as_value()).any(|value| marked(value).is_some())
    })
}

pub(super) fn text(document: &DocumentMut, places: &Places) -> String {
    let words = ["Change the three values marked with <--, then:", "Change the values marked with <--, then:"];
    let head = match document.to_string() == STARTER {
        true => words[0],
        false if has_examples(document) => words[1],
        false => "Written by `attache init`. Now:",
    };
    let mut document = document.clone();
    let plain = places.origin.replacen("https://", "http://", 1);
    let variable = places.variable();
    rewrite_comments(&mut document, &|comment| {
        let comment = words.iter().fold(comment.to_owned(), |text, word| text.replace(word, head));
        let comment = comment.replace(ADDRESS, places.address.as_deref().unwrap_or(ADDRESS));
        let comment = comment.replace(ORIGIN, &places.origin).replace("http://orders.example.com", &plain);
        with_steps(&comment, &places.steps())
            .replace(&format!(".{NAME}]"), &format!(".{}]", places.name))
            .replace(&format!("upstream = \"{NAME}\""), &format!("upstream = \"{}\"", places.name))
    });
    rename(&mut document, places, &variable);
    document.to_string()
}

/// How the lines of the starter's head begin, and which step each is.
const STEPS: [(&str, usize); 5] = [
    ("#   export ", 0),
    ("#   (put the key file ", 0),
    ("#   (let the platform ", 0),
    ("#   attache check", 1),
    ("#   attache run", 2),
];

/// Those lines in the words of this configuration.
fn with_steps(comment: &str, steps: &[(String, &'static str); 3]) -> String {
    let mut lines = String::new();
    for line in comment.split_inclusive('\n') {
        let of_step = STEPS.iter().find(|(begin, _)| line.starts_with(begin));
        match of_step.and_then(|(_, place)| steps.get(*place)) {
            Some((command, about)) => lines.extend(["#   ", &step_line(command, about), "\n"]),
            None => lines.push_str(line),
        }
    }
    lines
}

/// Gives the tables of credential and upstream their name, and what refers to them.
fn rename(document: &mut DocumentMut, places: &Places, variable: &str) {
    for section in ["credentials", "upstreams"] {
        let Some(tables) = document.get_mut(section).and_then(Item::as_table_mut) else { continue };
        let Some(mut table) = tables.remove(NAME) else { continue };
        for (_, item) in table.as_table_mut().into_iter().flat_map(Table::iter_mut) {
            if let Some(place) = item.get_mut("env").and_then(Item::as_value_mut)
                && place.as_str() == Some(VARIABLE)
            {
                replace(place, variable.into());
            }
            let Some(value) = item.as_value_mut() else { continue };
            if value.as_str() == Some(ORIGIN) {
                replace(value, places.origin.as_str().into());
            }
        }
        if let Some(reference) = table.get_mut("credential").and_then(Item::as_value_mut) {
            replace(reference, places.name.as_str().into());
        }
        tables.insert(&places.name, table);
    }
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
