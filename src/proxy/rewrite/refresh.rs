//! `Refresh`, which no RFC describes and every browser reads: seconds, and then perhaps a reference, quoted or not (WHATWG
//! HTML, "shared declarative refresh steps").

use super::reference::Names;

/// The field as the caller has to read it; `None` where it does not name the origin.
pub(super) fn rewritten(names: &Names<'_>, text: &[u8]) -> Option<Vec<u8>> {
    let said = reference(text)?;
    let (before, behind) = text.split_at(text.len() - said.len());
    // From its quote to the next one; what follows there is not read.
    let quote = before.last().filter(|last| matches!(last, b'"' | b'\''));
    let end = quote.and_then(|quote| behind.iter().position(|byte| byte == quote)).unwrap_or(behind.len());
    let (said, after) = behind.split_at(end);
    let rewritten = names.rewritten(said)?;
    if quote.is_some_and(|quote| rewritten.contains(quote)) {
        return None;
    }
    Some([before, &rewritten, after].concat())
}

/// What stands behind the seconds, `url=` and an opening quote.
fn reference(text: &[u8]) -> Option<&[u8]> {
    let rest = text.trim_ascii_start();
    let seconds = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.'))?;
    if seconds == 0 || !matches!(rest[seconds], b';' | b',' | b' ' | b'\t') {
        return None;
    }
    let rest = rest[seconds..].trim_ascii_start();
    let rest = rest.strip_prefix(b";").or_else(|| rest.strip_prefix(b",")).unwrap_or(rest).trim_ascii_start();
    let named = match rest.split_at_checked(3) {
        Some((url, behind)) if url.eq_ignore_ascii_case(b"url") => behind.trim_ascii_start().strip_prefix(b"="),
        _ => None,
    };
    let rest = named.map_or(rest, <[u8]>::trim_ascii_start);
    Some(rest.strip_prefix(b"\"").or_else(|| rest.strip_prefix(b"'")).unwrap_or(rest))
}
