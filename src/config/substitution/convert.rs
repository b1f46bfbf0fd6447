//! A text from the environment as what its key may be: `"true"`, `"64"`, `"a b"` for a list.

use crate::config::generate::keys::Form;
use crate::config::syntax::tree::{Node, Placed};

/// The value that the text stands for; `None` if the key may be nothing that it could stand for.
pub(super) fn convert(text: &str, forms: &[Form], at: usize) -> Option<Node> {
    // Words first, then what has a narrow form, and text last: it takes everything.
    let narrow = forms.iter().filter(|form| !is_text(**form)).find_map(|form| as_form(text, *form, at));
    narrow.or_else(|| forms.iter().any(|form| is_text(*form)).then(|| Node::text(text)))
}

/// What may be any text, as far as can be told here: its reader knows more.
const fn is_text(form: Form) -> bool {
    matches!(form, Form::Text | Form::Duration | Form::Size | Form::Address | Form::Secret | Form::Pem)
}

fn as_form(text: &str, form: Form, at: usize) -> Option<Node> {
    let trimmed = text.trim();
    let list = |node: fn(&str) -> Option<Node>| {
        let entries = trimmed.split_whitespace().map(|word| Some(Placed { at, node: node(word)? }));
        entries.collect::<Option<Vec<_>>>().map(Node::Array)
    };
    match form {
        Form::Word(word) => (word == text).then(|| Node::text(text)),
        Form::Boolean => trimmed.parse().ok().map(Node::Boolean),
        Form::Integer(..) => integer(trimmed),
        Form::Integers(..) => list(integer),
        Form::Fraction(..) => fraction(trimmed),
        Form::List => list(|word| Some(Node::text(word))),
        Form::Texts if trimmed.contains(char::is_whitespace) => list(|word| Some(Node::text(word))),
        Form::Texts => Some(Node::text(text)),
        _ => None,
    }
}

fn integer(text: &str) -> Option<Node> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Node::Integer(text.to_owned(), 10))
}

fn fraction(text: &str) -> Option<Node> {
    let is = text.contains('.') && text.parse::<f64>().is_ok_and(f64::is_finite);
    is.then(|| Node::Float(text.to_owned()))
}

/// What to set a variable to, for the keys that are no texts.
pub(super) fn wanted(forms: &[Form]) -> String {
    let each = forms.iter().filter_map(|form| match form {
        Form::Word(word) => Some(format!("\"{word}\"")),
        Form::Boolean => Some("true or false".to_owned()),
        Form::Integer(first, last) => Some(format!("a whole number from {first} to {last}")),
        Form::Integers(first, last) => Some(format!("whole numbers from {first} to {last} with spaces between")),
        Form::Fraction(first, last) => Some(format!("a fraction from {first} to {last}")),
        _ => None,
    });
    each.collect::<Vec<_>>().join(" or ")
}
