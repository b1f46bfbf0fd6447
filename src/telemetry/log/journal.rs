//! Where stderr is systemd's journal, each line begins with its priority (`sd-daemon(3)`), which the journal takes off:
//! `journalctl -p err` finds errors then.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::OnceLock;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Stderr, as the log writes to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr {
    is_journal: bool,
}

impl Stderr {
    /// As this process was started.
    pub(super) fn here() -> Self {
        Self { is_journal: is_stderr() }
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event { level: None }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Event {
        Event { level: self.is_journal.then(|| *meta.level()) }
    }
}

/// One event on its way to stderr; it comes as a whole.
pub(super) struct Event {
    level: Option<Level>,
}

impl Write for Event {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self.level {
            None => io::stderr().write_all(text)?,
            Some(level) => io::stderr().write_all(&marked(text, level))?,
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The text as it goes to stderr: with a priority at the beginning of each line, if stderr is the journal.
pub(crate) fn for_stderr(text: &[u8], level: Level) -> Cow<'_, [u8]> {
    if is_stderr() { Cow::Owned(marked(text, level)) } else { Cow::Borrowed(text) }
}

fn marked(text: &[u8], level: Level) -> Vec<u8> {
    let mark: &[u8] = match level {
        Level::ERROR => b"<3>",
        Level::WARN => b"<4>",
        Level::INFO => b"<6>",
        _ => b"<7>",
    };
    text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [mark, line].concat()).collect()
}

/// True if stderr is the stream that systemd has connected with the journal, and not, say, a file that it was sent to since.
pub(crate) fn is_stderr() -> bool {
    static IS_STDERR: OnceLock<bool> = OnceLock::new();
    *IS_STDERR.get_or_init(|| {
        let stream = std::env::var("JOURNAL_STREAM").ok();
        stream.is_some_and(|stream| this_stderr().is_some_and(|(device, inode)| stream == format!("{device}:{inode}")))
    })
}

#[cfg(unix)]
fn this_stderr() -> Option<(u64, u64)> {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    let stderr = io::stderr().as_fd().try_clone_to_owned().ok()?;
    let found = std::fs::File::from(stderr).metadata().ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
const fn this_stderr() -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_an_event_has_its_priority() {
        assert_eq!(marked(b"one\ntwo\n", Level::ERROR), b"<3>one\n<3>two\n");
        let of = |level| marked(b"x\n", level)[1];
        assert_eq!([Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(of), [b'4', b'6', b'7', b'7']);
    }
}
