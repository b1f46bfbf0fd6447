//! What a secret is known by to those who have to recognise it: its digests, read beforehand, so that nobody who tries has a
//! file read or a program run for it.

use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use super::{Secret, SecretSource, Secrets};
use crate::sync::{self, lock};

/// The digests of every secret in a list that could be read last.
pub(crate) struct Digests {
    of: Secrets,
    known: RwLock<Vec<[u8; 32]>>,
    /// When all of them were read last.
    read_at: Mutex<Instant>,
}

/// Without the digests: whoever reads them could try secrets against them.
impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digests").field("of", &self.of).finish_non_exhaustive()
    }
}

/// A program that has brought nothing, such as a password manager that is locked, is asked again after this time.
const AGAIN: Duration = Duration::from_mins(1);

impl Digests {
    /// Reads them. Blocks while files are read and programs run.
    #[must_use]
    pub(crate) fn new(of: Secrets) -> Self {
        let (known, read_at) = (RwLock::new(read(&of)), Mutex::new(Instant::now()));
        Self { of, known, read_at }
    }

    /// Where they come from.
    #[must_use]
    pub(crate) const fn secrets(&self) -> &Secrets {
        &self.of
    }

    /// Reads again what costs nothing to read, and now and then what has brought nothing yet. What cannot be read now stays
    /// what it was.
    pub(crate) fn look(&self) {
        if self.of.sources().iter().any(SecretSource::is_command) {
            let mut read_at = lock(&self.read_at);
            let known = !sync::read(&self.known).is_empty();
            if known || read_at.elapsed() < AGAIN {
                return;
            }
            *read_at = Instant::now();
        }
        let now = read(&self.of);
        if !now.is_empty() {
            *sync::write(&self.known) = now;
        }
    }

    /// True if this is one of them. Takes the same time for all.
    #[must_use]
    pub(crate) fn has(&self, given: &Secret) -> bool {
        let given = given.fingerprint();
        let mut matches = false;
        for digest in sync::read(&self.known).iter() {
            matches |= aws_lc_rs::constant_time::verify_slices_are_equal(digest, &given).is_ok();
        }
        matches
    }
}

/// Read now; a place that cannot be read has no secret in it.
fn read(of: &Secrets) -> Vec<[u8; 32]> {
    of.sources().iter().filter_map(|source| Some(source.read().ok()?.fingerprint())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_is_recognised_and_a_rotated_one_after_a_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "old").unwrap();
        let literal = SecretSource::Literal(Secret::new("literal".into()));
        let digests = Digests::new(Secrets::new(vec![literal, SecretSource::File(path.clone())]).unwrap());
        let has = |text: &str| digests.has(&Secret::new(text.into()));
        assert!(has("literal") && has("old") && !has("new") && !has(""));
        std::fs::write(&path, "new").unwrap();
        assert!(!has("new"), "nobody who tries has it read");
        digests.look();
        assert!(has("literal") && has("new") && !has("old"));
    }
}
