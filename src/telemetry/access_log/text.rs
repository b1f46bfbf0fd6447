//! `text`: for people, and for programs that take it apart at blanks and quotes.

use std::fmt;

use super::record::AccessRecord;

impl AccessRecord {
    /// For people, and for programs that take it apart at blanks and quotes:
    /// `time listener peer caller "GET host/path" 200 1234B 3.2ms injected upstream credential id`.
    #[must_use]
    pub(crate) fn line(&self) -> String {
        let Self { status, bytes, duration_ms, .. } = self;
        let [time, outcome, request_id] = [&*self.time, &*self.outcome, &*self.request_id].map(Escaped::of);
        let [listener, peer, caller, method, host, path, upstream, credential] = [
            Escaped::of(&self.listener),
            Escaped::of(&self.peer),
            Escaped::optional(self.caller.as_deref()),
            Escaped::of(&self.method),
            Escaped::host(&self.host),
            Escaped::of(&self.path),
            Escaped::of(&self.upstream),
            Escaped::optional(self.credential.as_deref()),
        ];
        let refused =
            self.unauthorized.as_deref().map(|outcome| format!(" 401:{}", Escaped::of(outcome))).unwrap_or_default();
        format!(
            "{time} {listener} {peer} {caller} \"{method} {host}{path}\" {status} {bytes}B {duration_ms:.1}ms {outcome} {upstream} {credential} {request_id}{refused}"
        )
    }
}

/// A field of a line. Callers choose what is in it: what would end the field, or the line, and what a
/// terminal would act on stands as `\xNN`, as in the logs of other servers.
struct Escaped<'a> {
    text: &'a str,
    /// Host and path stand side by side: the first slash begins the path.
    slash: bool,
}

impl<'a> Escaped<'a> {
    const fn of(text: &'a str) -> Self {
        Self { text, slash: false }
    }

    const fn host(text: &'a str) -> Self {
        Self { text, slash: true }
    }

    /// `-` stands for none.
    fn optional(text: Option<&'a str>) -> Self {
        Self::of(text.unwrap_or("-"))
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stands =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\') && (byte != b'/' || !self.slash);
        let mut rest = self.text;
        while let Some(at) = rest.bytes().position(|byte| !stands(byte)) {
            f.write_str(&rest[..at])?;
            let character = rest[at..].chars().next().map_or(1, char::len_utf8);
            for byte in rest[at..at + character].bytes() {
                write!(f, "\\x{byte:02x}")?;
            }
            rest = &rest[at + character..];
        }
        f.write_str(rest)
    }
}
