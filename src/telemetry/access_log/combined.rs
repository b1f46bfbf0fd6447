//! `combined`: Apache's combined log format, `%h - %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`, for the many programs that
//! read it. A name with a blank is written with `\x20`, which those programs would take apart otherwise.

use std::fmt::Write as _;

use super::record::AccessRecord;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The line of one request.
pub(super) fn line(record: &AccessRecord) -> String {
    let AccessRecord { method, status, bytes, protocol, .. } = record;
    let mut line = String::with_capacity(192);
    match record.client() {
        Some((address, _)) => push(&mut line, format_args!("{address}")),
        // Of a unix socket there is no address.
        None => line.push('-'),
    }
    line.push_str(" - ");
    escape(record.caller.as_deref().filter(|name| !name.is_empty()).unwrap_or("-"), Blank::Escaped, &mut line);
    push(&mut line, format_args!(" [{}] \"", time(&record.time)));
    escape(method, Blank::Escaped, &mut line);
    line.push(' ');
    escape(&target(record), Blank::Escaped, &mut line);
    push(&mut line, format_args!(" {protocol}\" {status} "));
    match bytes {
        0 => line.push('-'),
        bytes => push(&mut line, format_args!("{bytes}")),
    }
    for field in [&record.referer, &record.user_agent] {
        line.push_str(" \"");
        escape(field.as_deref().unwrap_or("-"), Blank::Stands, &mut line);
        line.push('"');
    }
    line
}

fn push(line: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _written = line.write_fmt(text);
}

/// The target in the form in which it came (RFC 9112 section 3.2).
fn target(record: &AccessRecord) -> String {
    let AccessRecord { scheme, host, path, .. } = record;
    match (&*record.method, record.is_absolute) {
        ("CONNECT", _) => host.clone(),
        (_, true) => format!("{scheme}://{host}{path}"),
        (_, false) => path.clone(),
    }
}

/// `2026-01-31T23:59:59.123Z` as `31/Jan/2026:23:59:59 +0000`.
fn time(rfc3339: &str) -> String {
    let part = |from: usize, to: usize| rfc3339.get(from..to).unwrap_or("00");
    let month = part(5, 7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?)).unwrap_or(&"Jan");
    format!("{}/{month}/{}:{} +0000", part(8, 10), part(0, 4), part(11, 19))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Blank {
    Stands,
    Escaped,
}

/// As Apache escapes what callers say: `\"`, `\\`, the letters of C, and `\xhh` for the rest that is not printable.
fn escape(text: &str, blank: Blank, line: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'"' => line.push_str("\\\""),
            b'\\' => line.push_str("\\\\"),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            0x08 => line.push_str("\\b"),
            0x0b => line.push_str("\\v"),
            b' ' if blank == Blank::Stands => line.push(' '),
            byte if byte.is_ascii_graphic() => line.push(char::from(byte)),
            byte => push(line, format_args!("\\x{byte:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> AccessRecord {
        AccessRecord {
            time: "2026-01-31T23:59:59.123Z".into(),
            peer: "192.0.2.7:5000".into(),
            method: "GET".into(),
            scheme: "http".into(),
            host: "api.test".into(),
            path: "/a".into(),
            protocol: "HTTP/1.1".into(),
            status: 200,
            bytes: 5,
            ..AccessRecord::default()
        }
    }

    #[test]
    fn a_line_is_as_apache_writes_it() {
        let plain = line(&record());
        assert_eq!(plain, r#"192.0.2.7 - - [31/Jan/2026:23:59:59 +0000] "GET /a HTTP/1.1" 200 5 "-" "-""#);
        let full = AccessRecord {
            caller: Some("batch job".into()),
            is_absolute: true,
            referer: Some("https://a.test/x".into()),
            user_agent: Some("me/1.0 (\"x\\y\u{e9}\u{1b}\r\n)".into()),
            bytes: 0,
            ..record()
        };
        assert_eq!(
            line(&full),
            r#"192.0.2.7 - batch\x20job [31/Jan/2026:23:59:59 +0000] "GET http://api.test/a HTTP/1.1" 200 - "https://a.test/x" "me/1.0 (\"x\\y\xc3\xa9\x1b\r\n)""#
        );
        let connect =
            AccessRecord { method: "CONNECT".into(), host: "api.test:443".into(), path: String::new(), ..record() };
        assert!(line(&connect).contains("\"CONNECT api.test:443 HTTP/1.1\""));
        assert!(line(&AccessRecord { peer: "unix:uid=1000".into(), ..record() }).starts_with("- - - ["));
    }

    /// The fields of a line, taken apart as programs do that know the format and not attache.
    fn fields(line: &str) -> Vec<String> {
        let (mut fields, mut field, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
        for character in line.chars() {
            match character {
                _ if escaped => {
                    field.push(character);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                ' ' if !quoted => fields.push(std::mem::take(&mut field)),
                _ => field.push(character),
            }
        }
        assert!(!quoted, "{line}");
        fields.push(field);
        fields
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_says_forges_a_line(
            path in "/.{0,40}", host in ".{0,20}", agent in ".{0,60}", referer in ".{0,60}", caller in ".{1,20}",
        ) {
            let record = AccessRecord {
                path, host, user_agent: Some(agent), referer: Some(referer), caller: Some(caller), is_absolute: true, ..record()
            };
            let line = line(&record);
            prop_assert!(line.is_ascii() && !line.contains(|c: char| c.is_ascii_control()), "{line:?}");
            let fields = fields(&line);
            prop_assert_eq!(fields.len(), 10, "{}", line);
            prop_assert_eq!((&*fields[6], &*fields[7]), ("200", "5"));
            prop_assert_eq!(fields[5].split(' ').count(), 3);
        }
    }
}
