//! `${NAME}`, `${NAME:-default}` and `$$` in one text.

use zeroize::Zeroizing;

use crate::config::syntax::file::Environment;
use crate::secret::is_variable_name;

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    Variable { name: &'t str, default: Option<&'t str> },
}

/// Why a `${` is none that is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    Unclosed,
    Name,
    Nested,
}

impl Malformed {
    /// The end of a sentence. What stands there is not repeated: it may be a secret with a dollar sign in it.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Unclosed => "has a `${` without its `}`",
            Self::Name => "has a `${` that no name of a variable and `}` or `:-` follows",
            Self::Nested => "has a `${` within the default of another",
        }
    }
}

/// A text with its variables filled in.
pub(super) struct Expanded<'t> {
    pub(super) text: Zeroizing<String>,
    /// The variables that were read.
    pub(super) read: Vec<&'t str>,
}

/// Takes a text apart.
pub(super) fn parse(text: &str) -> Result<Vec<Piece<'_>>, Malformed> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let behind = &rest[dollar + 1..];
        if let Some(after) = behind.strip_prefix('$') {
            pieces.push(Piece::Text(&rest[..=dollar]));
            rest = after;
        } else if let Some(inside) = behind.strip_prefix('{') {
            pieces.push(Piece::Text(&rest[..dollar]));
            let (inner, after) = inside.split_once('}').ok_or(Malformed::Unclosed)?;
            pieces.push(variable(inner)?);
            rest = after;
        } else {
            pieces.push(Piece::Text(&rest[..=dollar]));
            rest = behind;
        }
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Ok(pieces)
}

fn variable(inner: &str) -> Result<Piece<'_>, Malformed> {
    let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
    if !is_variable_name(name) {
        return Err(Malformed::Name);
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(Malformed::Nested);
    }
    Ok(Piece::Variable { name, default })
}

/// Fills the variables in, or names the first that is not set and has no default.
pub(super) fn fill<'t>(pieces: &[Piece<'t>], environment: Environment<'_>) -> Result<Expanded<'t>, &'t str> {
    let mut expanded = Expanded { text: Zeroizing::new(String::new()), read: Vec::new() };
    for piece in pieces {
        match piece {
            Piece::Text(text) => expanded.text.push_str(text),
            Piece::Variable { name, default } => {
                let value = environment(name).map(Zeroizing::new);
                match (value, default) {
                    (Some(value), None) => expanded.text.push_str(&value),
                    (Some(value), Some(_)) if !value.is_empty() => expanded.text.push_str(&value),
                    (_, Some(default)) => {
                        expanded.text.push_str(default);
                        continue;
                    }
                    (None, None) => return Err(name),
                }
                expanded.read.push(name);
            }
        }
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let environment = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("${A}".to_owned()),
            _ => None,
        };
        let pieces = parse(text).map_err(|malformed| format!("{malformed:?}"))?;
        fill(&pieces, &environment).map(|expanded| expanded.text.to_string()).map_err(str::to_owned)
    }

    #[test]
    fn variables_are_filled_in_once() {
        for (text, expected) in [
            ("", ""),
            ("a", "a"),
            ("${A}", "one"),
            ("x${A}y${A}", "xoneyone"),
            ("${DOLLAR}", "${A}"),
            ("$${A}", "${A}"),
            ("$$$${A}$$", "$${A}$"),
            ("$A $1 $", "$A $1 $"),
            ("${EMPTY}", ""),
            ("${EMPTY:-two}", "two"),
            ("${NONE:-two}", "two"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b $x {}", "a:-b $x {"),
            ("${A:-two}", "one"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(filled("${A}${NONE}"), Err("NONE".into()));
    }

    #[test]
    fn any_other_is_refused() {
        for (text, malformed) in [
            ("${A", "Unclosed"),
            ("${}", "Name"),
            ("${A-b}", "Name"),
            ("${A:?b}", "Name"),
            ("${1A}", "Name"),
            ("${ A }", "Name"),
            ("${A:-${B}}", "Nested"),
        ] {
            assert_eq!(filled(text), Err(malformed.into()), "{text}");
        }
    }
}
