//! What a secret is known by to those who have to recognise it: its digests, read beforehand, so that nobody who tries has a
//! file read or a program run for it.

use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use super::{Secret, SecretSource, Secrets};
use crate::sync::{self, lock};

/// The digests of every secret in a list that could be read last.
pub(crate) struct Digests {
    of: Secrets,
    known: RwLock<Known>,
    /// When programs were run last, where they are run again.
    run_at: Option<Mutex<Instant>>,
}

#[derive(Default, PartialEq, Eq)]
struct Known {
    /// Of what programs printed.
    printed: Vec<[u8; 32]>,
    /// Of what is read at every look.
    read: Vec<[u8; 32]>,
}

/// A program that has brought nothing, such as a password manager that is locked, is asked again after this time.
const AGAIN: Duration = Duration::from_secs(60);

impl Digests {
    /// Reads them. Blocks while files are read and programs run.
    #[must_use]
    pub(crate) fn new(of: Secrets) -> Self {
        let known = Known { printed: read(&of, SecretSource::is_command), read: read(&of, costs_nothing) };
        Self { of, known: RwLock::new(known), run_at: None }
    }

    /// The same, and as long as nothing is known, a look runs the programs again.
    #[must_use]
    pub(crate) fn running_again(of: Secrets) -> Self {
        Self { run_at: Some(Mutex::new(Instant::now())), ..Self::new(of) }
    }

    /// Where they come from.
    #[must_use]
    pub(crate) const fn secrets(&self) -> &Secrets {
        &self.of
    }

    /// Reads again what costs nothing to read, and now and then what has brought nothing yet. What cannot be read now stays
    /// what it was. True if any is another one than before.
    pub(crate) fn look(&self) -> bool {
        let mut now = Known { printed: Vec::new(), read: read(&self.of, costs_nothing) };
        if self.may_run() {
            now.printed = read(&self.of, SecretSource::is_command);
        }
        let mut known = sync::write(&self.known);
        if now.printed.is_empty() {
            now.printed.clone_from(&known.printed);
        }
        if now.read.is_empty() {
            now.read.clone_from(&known.read);
        }
        let changed = *known != now;
        *known = now;
        changed
    }

    /// True if this is one of them. Takes the same time for all.
    #[must_use]
    pub(crate) fn has(&self, given: &Secret) -> bool {
        self.has_digest(&given.fingerprint())
    }

    #[must_use]
    pub(crate) fn has_digest(&self, given: &[u8; 32]) -> bool {
        let known = sync::read(&self.known);
        let equal = |digest: &[u8; 32]| aws_lc_rs::constant_time::verify_slices_are_equal(digest, given).is_ok();
        known.printed.iter().chain(&known.read).fold(false, |matches, digest| matches | equal(digest))
    }

    /// There are programs, nothing is known, and they have had time.
    fn may_run(&self) -> bool {
        let Some(run_at) = &self.run_at else { return false };
        let nothing = *sync::read(&self.known) == Known::default();
        if !nothing || !self.of.sources().iter().any(SecretSource::is_command) {
            return false;
        }
        let mut run_at = lock(run_at);
        let may = run_at.elapsed() >= AGAIN;
        if may {
            *run_at = Instant::now();
        }
        may
    }
}

/// Without the digests: they would allow to try secrets against them.
impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digests").field("of", &self.of).finish_non_exhaustive()
    }
}

fn costs_nothing(source: &SecretSource) -> bool {
    !source.is_command()
}

/// Read now; a place that cannot be read has no secret in it.
fn read(of: &Secrets, which: impl Fn(&SecretSource) -> bool) -> Vec<[u8; 32]> {
    let sources = of.sources().iter().filter(|source| which(source));
    sources.filter_map(|source| Some(source.read().ok()?.fingerprint())).collect()
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
        assert!(digests.look() && !digests.look());
        assert!(has("literal") && has("new") && !has("old"));
        std::fs::remove_file(&path).unwrap();
        assert!(digests.look() && has("literal") && !has("new"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_beside_a_program_is_read_again_and_the_program_is_not_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, runs) = (folder.path().join("secret"), folder.path().join("runs"));
        std::fs::write(&path, "old").unwrap();
        let script = format!("echo x >> {}; echo printed", runs.display());
        let argv = ["sh", "-c", &script].map(str::to_owned).to_vec();
        let command = SecretSource::Command { argv, timeout: Duration::from_secs(10) };
        let digests = Digests::new(Secrets::new(vec![command, SecretSource::File(path.clone())]).unwrap());
        let has = |text: &str| digests.has(&Secret::new(text.into()));
        assert!(has("printed") && has("old"));
        std::fs::write(&path, "new").unwrap();
        assert!(digests.look() && has("printed") && has("new") && !has("old"));
        std::fs::remove_file(&path).unwrap();
        assert!(!digests.look() && has("new"), "what cannot be read now stays what it was");
        assert_eq!(std::fs::read_to_string(runs).unwrap(), "x\n");
    }
}
