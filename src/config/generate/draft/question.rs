//! What only the user knows.

use toml_edit::{DocumentMut, Table};

use super::edit::{marked, table};
use super::text::NAME;
use crate::config::tables::credentials::preset::Provider;

/// A value that only the user knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The table: `credentials` or `upstreams`.
    pub(crate) table: &'static str,
    pub(crate) key: String,
    /// What it is, in a few words.
    pub(crate) about: String,
    pub(crate) enter: Enter,
}

/// What stands in the file if nothing is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Enter {
    /// An example, which stays marked.
    Example(String),
    /// What is mostly right.
    Value(String),
    /// Nothing: the key is left out.
    Nothing,
}

/// Keys whose values in the starter are right as they are, for many.
const MOSTLY_RIGHT: [(&str, &str); 2] = [
    ("authorization_server", "which of the organization's servers: \"default\", the id of another, or \"org\""),
    ("environment", "\"sandbox\" to try things out, or \"live\""),
];

/// Keys that a server may want, and that only its operator can tell. A preset asks for those that its provider needs.
const OPTIONAL: [(&str, &str); 2] = [
    ("scope", "what the token allows, as the API's documentation says; several with a space between"),
    ("audience", "which API the token is for, if the server has to be told"),
];

/// All of them, in the order of the file.
pub(super) fn questions(document: &DocumentMut, provider: Option<Provider>) -> Vec<Question> {
    let mut questions = Vec::new();
    for section in ["credentials", "upstreams"] {
        for (key, item) in table(document, section, NAME).into_iter().flat_map(Table::iter) {
            // A value that is no text is a secret's place, and has a question of its own.
            let Some((text, value)) = item.as_str().zip(item.as_value()) else { continue };
            let right = MOSTLY_RIGHT.iter().find(|(right, _)| *right == key);
            let (about, enter) = match (right, marked(value)) {
                (Some((_, about)), _) => (*about, Enter::Value(text.to_owned())),
                (None, Some(about)) => (about, Enter::Example(text.to_owned())),
                (None, None) => continue,
            };
            questions.push(Question { table: section, key: key.to_owned(), about: about.to_owned(), enter });
        }
        if section == "credentials" && provider.is_none() {
            questions.extend(OPTIONAL.map(|(key, about)| Question {
                table: section,
                key: key.to_owned(),
                about: about.to_owned(),
                enter: Enter::Nothing,
            }));
        }
    }
    questions
}
