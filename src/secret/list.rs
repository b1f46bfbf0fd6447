//! Ordered fallbacks: the same secret in several places, or an old and a new one while it is rotated.

use super::{Secret, SecretError, SecretSource};
use crate::digest::digest;

/// Places that are tried in order; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secrets(Vec<SecretSource>);

impl Secrets {
    /// One place.
    #[must_use]
    pub(crate) fn one(source: SecretSource) -> Self {
        Self(vec![source])
    }

    /// Several; `None` if there is not even one.
    #[must_use]
    pub(crate) fn new(sources: Vec<SecretSource>) -> Option<Self> {
        (!sources.is_empty()).then_some(Self(sources))
    }

    /// In their order.
    #[must_use]
    pub(crate) fn sources(&self) -> &[SecretSource] {
        &self.0
    }

    /// The first that can be read.
    ///
    /// # Errors
    /// That of the first, if none can.
    pub(crate) fn first_readable(&self) -> Result<Secret, SecretError> {
        self.first(SecretSource::read)
    }

    /// A digest over all of them, in their order. What counts is what they are: neither where one is, nor a second place of
    /// it, nor a place that cannot be read, as long as another can.
    ///
    /// # Errors
    /// That of the first, if none can be read.
    pub(crate) fn fingerprint(&self) -> Result<[u8; 32], SecretError> {
        self.fingerprint_by(SecretSource::fingerprint)
    }

    /// The same, where something else than the whole text tells one from another.
    ///
    /// # Errors
    /// As [`Secrets::fingerprint`].
    pub(crate) fn fingerprint_by(
        &self,
        of: impl Fn(&SecretSource) -> Result<[u8; 32], SecretError>,
    ) -> Result<[u8; 32], SecretError> {
        let mut found: Vec<[u8; 32]> = Vec::new();
        for one in self.0.iter().filter_map(|source| of(source).ok()) {
            if !found.contains(&one) {
                found.push(one);
            }
        }
        if found.is_empty() {
            return self.first(of);
        }
        Ok(digest(found.iter().map(<[u8; 32]>::as_slice)))
    }

    fn first<T>(&self, read: impl Fn(&SecretSource) -> Result<T, SecretError>) -> Result<T, SecretError> {
        let mut failure = None;
        for source in &self.0 {
            match read(source) {
                Ok(found) => return Ok(found),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| SecretError::Empty("the list of secrets".into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> SecretSource {
        SecretSource::Literal(Secret::new(text.into()))
    }

    fn absent() -> SecretSource {
        SecretSource::Env("ATTACHE_TEST_SURELY_UNSET".into())
    }

    #[test]
    fn what_cannot_be_read_is_passed_over_as_long_as_something_can() {
        let list = Secrets::new(vec![absent(), literal("b")]).unwrap();
        assert_eq!(list.first_readable().unwrap().expose(), "b");
        assert!(list.fingerprint().is_ok());
        let none = Secrets::new(vec![absent(), SecretSource::File("/surely/not/there".into())]).unwrap();
        assert!(matches!(none.first_readable(), Err(SecretError::EnvUnset(_))), "the first one's error");
        assert!(none.fingerprint().is_err() && Secrets::new(Vec::new()).is_none());
    }

    #[test]
    fn what_the_entries_are_and_their_order_count_for_the_fingerprint() {
        let of = |list: &[SecretSource]| Secrets::new(list.to_vec()).unwrap().fingerprint().unwrap();
        let (a, b) = (literal("a"), literal("b"));
        assert_ne!(of(&[a.clone(), b.clone()]), of(&[b.clone(), a.clone()]));
        assert_ne!(of(&[a.clone(), absent()]), of(&[a.clone(), b]));
        for same in [vec![a.clone(), absent()], vec![absent(), a.clone()], vec![a.clone(), a.clone()]] {
            assert_eq!(of(&same), of(std::slice::from_ref(&a)));
        }
    }
}
