//! `Destination` of COPY and MOVE (RFC 4918 section 10.3): the one field of a request in which a caller names the server
//! that it speaks to.

use super::reference::{Names, Reference, cut, without_dots};
use crate::dial::Scheme;

/// The field in the origin's terms; `None` where it names something else, or already reads so.
pub(super) fn rewritten(names: &Names<'_>, text: &[u8]) -> Option<Vec<u8>> {
    match Reference::split(text)? {
        Reference::Absolute(scheme, authority, rest) => {
            let is_named = if names.base {
                names.is_asked_host(scheme, authority)
            } else {
                scheme == Scheme::Http && names.is_origin(scheme, authority)
            };
            let rest = if is_named { stripped(names.prefix, rest)? } else { return None };
            Some([names.origin.to_string().as_bytes(), &rest].concat())
        }
        Reference::Path(path) if !names.prefix.is_empty() => stripped(names.prefix, path),
        _ => None,
    }
}

/// What is behind the prefix, as of the target of a request. `None` where that is another one.
fn stripped(prefix: &str, rest: &[u8]) -> Option<Vec<u8>> {
    if prefix.is_empty() {
        return Some(rest.to_vec());
    }
    let (path, tail) = cut(rest, b"?#");
    // The server would resolve dot segments without knowing of the prefix.
    let path = without_dots(path);
    match path.strip_prefix(prefix.as_bytes())? {
        b"" => Some([b"/", tail].concat()),
        behind @ [b'/', ..] => Some([behind, tail].concat()),
        _ => None,
    }
}
