//! The members of a JSON object, each name once. `serde_json` keeps the last of two equal names, others keep the first;
//! an answer that two readers understand differently is none.

use std::fmt;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

/// The top-level members of a token response.
pub(crate) struct Members(Vec<(String, Value)>);

impl Members {
    /// Reads a JSON object, with or without a byte order mark; `None` if the bytes are anything else.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)).ok()
    }

    /// Reads the body of an answer: JSON, whatever it is said to be, or a form where it is said to be one, as older servers
    /// answer. A form's fields are texts.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        Self::parse(body).or_else(|| {
            let is_form = media_type(headers)?.eq_ignore_ascii_case("application/x-www-form-urlencoded");
            if is_form { Self::of_form(body) } else { None }
        })
    }

    fn of_form(body: &[u8]) -> Option<Self> {
        let mut members: Vec<(String, Value)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(body.trim_ascii()) {
            if members.iter().any(|(known, _)| *known == name) {
                return None;
            }
            members.push((name.into_owned(), Value::from(value.into_owned())));
        }
        (!members.is_empty()).then_some(Self(members))
    }

    /// A member; `null` counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// Takes a member out, without a copy of it; `null` counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(member, _)| member == name)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.is_null())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EachOnce)
    }
}

/// `type/subtype`, in clear.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

struct EachOnce;

impl<'de> Visitor<'de> for EachOnce {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut names = std::collections::HashSet::new();
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a member stands twice"));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_member_makes_the_object_unreadable() {
        assert!(Members::parse(br#"{"a":1,"b":2}"#).is_some());
        assert!(Members::parse(br#"{"a":1,"a":1}"#).is_none());
        assert!(Members::parse(br#"{"a":1,"\u0061":2}"#).is_none());
    }

    #[test]
    fn only_an_object_is_one() {
        for body in ["", "null", "[]", "\"a\"", "1", "{", "{}x", "<html>"] {
            assert!(Members::parse(body.as_bytes()).is_none(), "{body}");
        }
        assert!(Members::parse(b"\xEF\xBB\xBF {}\r\n").is_some());
    }

    #[test]
    fn a_form_is_read_where_it_is_said_to_be_one() {
        let read = |media_type: &'static str, body: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type));
            Members::read(&headers, body.as_bytes())
        };
        let form = read("application/x-www-form-urlencoded; charset=utf-8", "access_token=a%21b&scope=x+y\n").unwrap();
        assert_eq!((form.get("access_token"), form.get("scope")), (Some(&"a!b".into()), Some(&"x y".into())));
        assert!(read("text/html", "access_token=a").is_none());
        assert!(read("application/x-www-form-urlencoded", "a=1&a=2").is_none(), "each once, as in JSON");
        assert!(read("application/x-www-form-urlencoded", r#"{"a":1}"#).unwrap().get("a").is_some());
    }

    #[test]
    fn null_counts_as_absent() {
        let mut members = Members::parse(br#"{"a":null,"b":0}"#).unwrap();
        assert!(members.get("a").is_none() && members.get("b").is_some());
        assert!(members.take("a").is_none() && members.take("b").is_some() && members.take("b").is_none());
    }
}
