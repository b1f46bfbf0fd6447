//! `Via` (RFC 9110 section 7.6.3): who passed a message on, and whether it has been here before.

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

use super::hop_by_hop::list_members;

/// A name that every attache has, and a comment that tells two instances apart, so that one attache behind
/// another is a chain and not a loop.
#[derive(Debug, Clone)]
pub struct ViaIdentity {
    comment: String,
    fields: [HeaderValue; 3],
}

impl Default for ViaIdentity {
    fn default() -> Self {
        let mut bytes = [0; 4];
        // Without randomness two instances look alike, which refuses a chain and allows no loop.
        let _filled = aws_lc_rs::rand::fill(&mut bytes);
        let comment = format!("({:08x})", u32::from_be_bytes(bytes));
        let field = |version| {
            let text = format!("{version} attache {comment}");
            HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("1.1 attache"))
        };
        Self { fields: [field("1.0"), field("1.1"), field("2.0")], comment }
    }
}

impl ViaIdentity {
    /// Appends a line; the version is the one the message was received with (RFC 9110 section 7.6.3).
    pub(super) fn append(&self, headers: &mut HeaderMap, received: Version) {
        let [v10, v11, v2] = &self.fields;
        let field = match received {
            Version::HTTP_10 | Version::HTTP_09 => v10,
            Version::HTTP_2 => v2,
            _ => v11,
        };
        headers.append(VIA, field.clone());
    }

    /// True if the message has passed here before. A line with that name and without a comment counts: intermediaries may
    /// remove comments, and this program always sends one.
    pub(in crate::proxy) fn is_loop(&self, headers: &HeaderMap) -> bool {
        headers.get_all(VIA).iter().any(|line| {
            list_members(line).any(|member| {
                let words = member.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                let mut words = words.skip(1);
                words.next() == Some(b"attache")
                    && words.next().is_none_or(|comment| *comment == *self.comment.as_bytes())
            })
        })
    }
}
