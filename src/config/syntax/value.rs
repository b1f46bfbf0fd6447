//! Turns one value of the file into what it means, or says what is wrong with it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::syntax::error::ProblemKind;
use crate::config::syntax::file::{File, read_regular};
use crate::config::syntax::tree::Node;
use crate::config::syntax::words::{alternatives, nearest};
use bytesize::ByteSize;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// More than any sensible timeout, and little enough to be added to any clock.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoDuration {
    #[error("it is longer than a year; write a shorter time")]
    TooLong,
    #[error("it is not a duration; write a number and its unit, such as 10s, 500ms or 5m")]
    Unreadable,
}

/// A duration as the file takes it, wherever it is written.
///
/// # Errors
/// No number with a unit; longer than a year.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, NoDuration> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > MAX_DURATION => Err(NoDuration::TooLong),
        Ok(duration) => Ok(duration),
        Err(_) => Err(NoDuration::Unreadable),
    }
}

/// Something and where it stands, for checks that come later.
#[derive(Debug, Clone)]
pub(crate) struct Spanned<T> {
    pub(crate) at: usize,
    pub(crate) value: T,
}

/// One value and its key.
pub(crate) struct Value<'a> {
    pub(crate) file: &'a File<'a>,
    /// `upstreams.orders.timeouts.connect`
    pub(crate) path: String,
    pub(crate) at: usize,
    pub(crate) node: &'a Node,
}

impl<'a> Value<'a> {
    /// Reports this value. Answers `None`, so that a reader can end with it.
    pub(crate) fn wrong<T>(&self, what: impl Display, remedy: impl Into<String>) -> Option<T> {
        self.wrong_as(ProblemKind::Other, what, remedy)
    }

    /// As [`wrong`](Self::wrong), of a kind that makes a difference somewhere.
    pub(crate) fn wrong_as<T>(&self, kind: ProblemKind, what: impl Display, remedy: impl Into<String>) -> Option<T> {
        self.file.wrong(self.at, (kind, &self.path), what.to_string(), remedy);
        None
    }

    /// A text that is not blank.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match self.node {
            Node::String(text) if text.trim().is_empty() => {
                self.wrong_as(ProblemKind::Empty, "is empty", "write its value or leave it out")
            }
            Node::String(text) => Some(text),
            _ => self.wrong_type("a string", "write it between quotes: \"…\""),
        }
    }

    /// A text that `parse` understands. Its error must not repeat the text, which may hold a password.
    pub(crate) fn parsed<T, E: Display>(&self, parse: impl FnOnce(&'a str) -> Result<T, E>, remedy: &str) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(error) => self.wrong(format_args!("is not valid: {error}"), remedy),
        }
    }

    /// One of a few words. `later` are words that are planned but have no meaning yet.
    pub(crate) fn choice<T: Copy>(&self, now: &[(&'static str, T)], later: &[&str]) -> Option<T> {
        #[cfg(test)]
        crate::config::testing::note_form(
            &self.path,
            &now.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" / "),
        );
        let text = self.text()?;
        if let Some((_, meaning)) = now.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let words: Vec<&str> = now.iter().map(|(word, _)| *word).collect();
        if later.contains(&text) {
            let what = format!("= \"{text}\" is not supported by this version");
            return self.wrong(what, format!("write {}", alternatives(&words)));
        }
        match nearest(text, words.iter().copied()) {
            Some(near) if text.len() <= near.len() + 4 => {
                let shown = self.file.written.shown(self.at, text);
                self.wrong(format_args!("cannot be \"{shown}\""), format!("did you mean \"{near}\"?"))
            }
            // Not repeated: what looks like none of the words may be a secret that stands at the wrong key.
            _ => self.wrong("has a value that means nothing here", format!("write {}", alternatives(&words))),
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        #[cfg(test)]
        crate::config::testing::note_form(&self.path, "boolean");
        match self.node {
            Node::Boolean(value) => Some(*value),
            _ => self.wrong_type("a boolean", "write true or false, without quotes"),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn integer(&self, bounds: RangeInclusive<u32>) -> Option<u32> {
        let (first, last) = (bounds.start(), bounds.end());
        #[cfg(test)]
        crate::config::testing::note_form(&self.path, &format!("integer {first}..{last}"));
        let remedy = format!("write a whole number from {first} to {last}, without quotes");
        let Node::Integer(number, radix) = self.node else { return self.wrong_type("a whole number", &remedy) };
        match u32::from_str_radix(number, *radix).ok().filter(|number| bounds.contains(number)) {
            None => self.wrong("is out of range", remedy),
            number => number,
        }
    }

    /// `"10s"`; longer than nothing.
    pub(crate) fn duration(&self) -> Option<Duration> {
        match self.duration_or_zero()? {
            Duration::ZERO => {
                self.wrong("is zero, so nothing could ever succeed", "write a longer time, such as \"10s\"")
            }
            duration => Some(duration),
        }
    }

    /// `"10s"`, or `"0s"` where none is a sensible amount.
    pub(crate) fn duration_or_zero(&self) -> Option<Duration> {
        const REMEDY: &str = "write a number and its unit between quotes, such as \"10s\", \"500ms\" or \"5m\"";
        #[cfg(test)]
        crate::config::testing::note_form(&self.path, "duration");
        let Node::String(text) = self.node else {
            if let Node::Integer(number, _) = self.node {
                let remedy = format!("write the unit and the quotes too, such as \"{number}s\" or \"{number}ms\"");
                return self.wrong("is a number without a unit", remedy);
            }
            return self.wrong_type("a duration", REMEDY);
        };
        match parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(NoDuration::TooLong) => self.wrong("is longer than a year", "write a shorter time"),
            Err(NoDuration::Unreadable) => self.wrong("is not a duration", REMEDY),
        }
    }

    /// `"64KiB"`, in bytes.
    pub(crate) fn size(&self) -> Option<u64> {
        const REMEDY: &str = "write a number and its unit between quotes, such as \"64KiB\" or \"1MiB\"";
        #[cfg(test)]
        crate::config::testing::note_form(&self.path, "size");
        let Node::String(text) = self.node else {
            if let Node::Integer(number, _) = self.node {
                let remedy = format!("write the unit and the quotes too, such as \"{number}B\" or \"1MiB\"");
                return self.wrong("is a number without a unit", remedy);
            }
            return self.wrong_type("a size", REMEDY);
        };
        match text.parse::<ByteSize>() {
            // The unit is what makes a size readable, and a bare number is as often meant to be KiB.
            Ok(size) if !text.ends_with(|last: char| last.is_ascii_digit()) => Some(size.as_u64()),
            _ => self.wrong("is not a size", REMEDY),
        }
    }

    /// A list, in its order; each entry is reported under its own position.
    pub(crate) fn list(&self) -> Option<Vec<Self>> {
        match self.node {
            Node::Array(entries) if entries.is_empty() => {
                self.wrong("is an empty list", "list at least one entry or leave the key out")
            }
            Node::Array(entries) => Some(
                entries
                    .iter()
                    .map(|entry| Self { file: self.file, path: self.path.clone(), at: entry.at, node: &entry.node })
                    .collect(),
            ),
            _ => self.wrong_type("a list", "write it between brackets: [ … ]"),
        }
    }

    /// A list, or one entry that stands for a list of itself.
    pub(crate) fn one_or_list(self) -> Option<Vec<Self>> {
        if self.node.is_str() { Some(vec![self]) } else { self.list() }
    }

    /// A file that can be read and holds at least one certificate.
    pub(crate) fn certificates(&self) -> Option<PathBuf> {
        const REMEDY: &str = "name a PEM file with at least one -----BEGIN CERTIFICATE----- block";
        let path = self.file.path(self.at, self.text()?);
        let shown = self.file.written.shown_path(self.at, &path);
        let text = match read_regular(&path) {
            Ok(text) => text,
            Err(error) => return self.wrong(format_args!("names {shown}, which cannot be read: {error}"), REMEDY),
        };
        let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        match certificates {
            Ok(found) if found.is_empty() => {
                self.wrong(format_args!("names {shown}, which holds no certificate"), REMEDY)
            }
            Ok(_) => Some(path),
            Err(_) => self.wrong(format_args!("names {shown}, which is not a PEM file"), REMEDY),
        }
    }

    /// Reports the type only: a value of the wrong type may be a secret in the wrong place.
    pub(crate) fn wrong_type<T>(&self, wanted: &str, remedy: &str) -> Option<T> {
        self.wrong(format_args!("is {}, not {wanted}", self.node.kind()), remedy)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{config, problems};
    use std::time::Duration;

    const LISTENER: &str = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";

    #[test]
    fn durations_and_sizes_need_units() {
        let found = problems(&format!(
            "{LISTENER}[limits]\ndrain = 10\nkeep_alive = \"5\"\nheader_timeout = \"0s\"\nheader_bytes = 65536\nreplay_memory = \"64\"\n"
        ));
        assert_eq!(found.len(), 5, "{found:#?}");
        assert_eq!(
            found[0],
            "proxy.toml:5:9: `limits.drain` is a number without a unit; write the unit and the quotes too, such as \"10s\" or \"10ms\""
        );
        assert!(found[1].contains("`limits.keep_alive` is not a duration; "));
        assert!(found[2].contains("`limits.header_timeout` is zero"));
        assert!(found[3].contains("`limits.header_bytes` is a number without a unit; "));
        assert!(found[4].contains("`limits.replay_memory` is not a size; "));
    }

    #[test]
    fn absurd_durations_are_refused_before_they_reach_a_clock() {
        let found = problems(&format!("{LISTENER}[limits]\ndrain = \"9999years\"\n"));
        assert_eq!(found, ["proxy.toml:5:9: `limits.drain` is longer than a year; write a shorter time"]);
        let read = config(&format!("{LISTENER}[limits]\ndrain = \"1m 30s\"\nheader_bytes = \"32 KiB\"\n"));
        assert_eq!((read.limits.drain, read.limits.header_bytes), (Duration::from_secs(90), 32 * 1024));
    }

    #[test]
    fn a_misspelt_word_is_answered_with_the_right_one() {
        let found = problems("[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forwrad\"\n");
        assert_eq!(found, ["proxy.toml:3:8: `listeners.proxy.mode` cannot be \"forwrad\"; did you mean \"forward\"?"]);
        let found = problems("[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"socks\"\n");
        assert_eq!(found, ["proxy.toml:3:8: `listeners.proxy.mode` cannot be \"socks\"; did you mean \"socks5\"?"]);
    }

    #[test]
    fn wrong_types_are_named_without_their_value() {
        let found = problems(
            "[listeners.proxy]\naddress = 8080\nmode = [\"forward\"]\nopen = \"yes\"\n[admin]\naddress = {}\n",
        );
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].contains("`listeners.proxy.address` is a whole number, not a string"));
        assert!(found[1].contains("`listeners.proxy.mode` is a list, not a string"));
        assert!(found[2].contains("`listeners.proxy.open` is a string, not a boolean; write true or false"));
        assert!(found[3].contains("`admin.address` is a table, not a string"));
    }
}
