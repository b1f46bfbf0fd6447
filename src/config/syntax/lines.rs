//! The line that a byte of a text stands in.

/// The line that holds this byte.
pub(crate) fn line_at(text: &str, offset: usize) -> &str {
    let offset = text.floor_char_boundary(offset);
    // What is not closed is noticed at the line's end.
    let begin = text[..offset].rfind('\n').map_or(0, |end| end + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |end| offset + end);
    &text[begin..end]
}

/// What stands in that line before and behind the byte.
pub(crate) fn around(text: &str, offset: usize) -> Option<(&str, &str)> {
    let offset = text.floor_char_boundary(offset);
    let begin = text.get(..offset)?.rfind('\n').map_or(0, |end| end + 1);
    let line = line_at(text, offset);
    Some((text.get(begin..offset)?, line.get(offset - begin..)?.trim_end()))
}
