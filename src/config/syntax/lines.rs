//! The line that a byte of a text stands in.

/// The line that holds this byte.
pub(crate) fn line_at(text: &str, offset: usize) -> &str {
    let offset = boundary(text, offset);
    // What is not closed is noticed at the line's end.
    let begin = text[..offset].rfind('\n').map_or(0, |end| end + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |end| offset + end);
    &text[begin..end]
}

/// What stands in that line before and behind the byte.
pub(crate) fn around(text: &str, offset: usize) -> Option<(&str, &str)> {
    let offset = boundary(text, offset);
    let begin = text.get(..offset)?.rfind('\n').map_or(0, |end| end + 1);
    let line = line_at(text, offset);
    Some((text.get(begin..offset)?, line.get(offset - begin..)?.trim_end()))
}

/// The character boundary at this byte, or the last one before it.
pub(crate) fn boundary(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_within_a_character_or_behind_the_text_has_the_boundary_before_it() {
        let text = "aé€";
        let found: Vec<usize> = (0..9).map(|offset| boundary(text, offset)).collect();
        assert_eq!(found, [0, 1, 1, 3, 3, 3, 6, 6, 6]);
    }
}
