//! Names of fields in Title-Case, in answers that are written as they stand.

use bytes::Bytes;

/// An answer with the names of its fields in Title-Case.
pub(super) fn title_cased(answer: &[u8]) -> Bytes {
    let mut cased = answer.to_vec();
    // Behind the status line, and where a name is: from a line's beginning to its colon.
    let (mut in_name, mut first, mut line) = (false, false, 0);
    for byte in &mut cased {
        match *byte {
            // The empty line.
            b'\n' if line <= 1 => break,
            b'\n' => (in_name, first, line) = (true, true, 0),
            other => {
                if in_name && first {
                    byte.make_ascii_uppercase();
                }
                first = other == b'-';
                in_name &= other != b':';
                line += 1;
            }
        }
    }
    cased.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_are_put_into_title_case_and_nothing_else() {
        let answer =
            "HTTP/1.1 400 bad request\r\ncontent-type: a-b/c-d\r\nx-request-id: x-y:z\r\n\r\n{\"a-b\": 1}\nc-d: e\n";
        let cased =
            "HTTP/1.1 400 bad request\r\nContent-Type: a-b/c-d\r\nX-Request-Id: x-y:z\r\n\r\n{\"a-b\": 1}\nc-d: e\n";
        assert_eq!(title_cased(answer.as_bytes()), cased);
    }
}
