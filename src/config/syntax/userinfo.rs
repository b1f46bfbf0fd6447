//! User name and password in a URL, as other programs take them.

use url::{Url, form_urlencoded};

use crate::secret::Secret;

/// The user name, `""` without one, and the password; both percent-decoded.
pub(crate) fn userinfo(url: &Url) -> (String, Option<Secret>) {
    (decoded(url.username()), url.password().map(|password| Secret::new(decoded(password))))
}

/// Percent-decoding alone: a `+` stays one.
pub(crate) fn decoded(text: &str) -> String {
    let form = format!("x={}", text.replace('+', "%2B"));
    form_urlencoded::parse(form.as_bytes()).next().map(|(_, text)| text.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_decoded() {
        let read = |text: &str| {
            let (name, password) = userinfo(&Url::parse(text).unwrap());
            (name, password.map(|password| password.expose().to_owned()))
        };
        assert_eq!(read("redis://a%40b:c+d%26e%2Ff@host"), ("a@b".into(), Some("c+d&e/f".into())));
        assert_eq!(read("redis://:p@host"), (String::new(), Some("p".into())));
        assert_eq!(read("http://a@host"), ("a".into(), None));
        assert_eq!(read("http://host"), (String::new(), None));
    }
}
