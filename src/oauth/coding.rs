//! Content codings (RFC 9110 section 8.4): none is asked for, and some servers and what stands before them compress all the same.

use std::io::Read;

use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use zeroize::Zeroizing;

/// RFC 1952 section 2.3.1: no text begins so.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a body stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// A coding that is not known here.
    Unknown,
    /// It is not what it is said to be.
    Broken,
    /// Decoded it is longer than anything that is read.
    TooLong,
}

/// The body as it was before it was coded, `most` bytes of it at the most.
pub(super) fn decoded(
    headers: &HeaderMap,
    body: Zeroizing<Vec<u8>>,
    most: usize,
) -> Result<Zeroizing<Vec<u8>>, Undecodable> {
    let mut codings = Vec::new();
    for field in headers.get_all(CONTENT_ENCODING) {
        let text = field.to_str().map_err(|_no_text| Undecodable::Unknown)?;
        codings.extend(text.split(',').map(|coding| coding.trim().to_ascii_lowercase()));
    }
    codings.retain(|coding| !coding.is_empty() && coding != "identity");
    match codings.as_slice() {
        // Also what is compressed and does not say so.
        [] if body.starts_with(&GZIP) => inflated(GzDecoder::new(body.as_slice()), most),
        [] => Ok(body),
        // Something in between has decoded it and left the field.
        [coding] if matches!(coding.as_str(), "gzip" | "x-gzip") && !body.starts_with(&GZIP) => Ok(body),
        [coding] if matches!(coding.as_str(), "gzip" | "x-gzip") => inflated(GzDecoder::new(body.as_slice()), most),
        // RFC 9110 section 8.4.1.2: zlib around it, which some leave out.
        [coding] if coding == "deflate" => {
            inflated(ZlibDecoder::new(body.as_slice()), most).or_else(|fault| match fault {
                Undecodable::Broken => inflated(DeflateDecoder::new(body.as_slice()), most),
                other => Err(other),
            })
        }
        _ => Err(Undecodable::Unknown),
    }
}

fn inflated(decoder: impl Read, most: usize) -> Result<Zeroizing<Vec<u8>>, Undecodable> {
    let mut body = Zeroizing::new(Vec::new());
    let bound = u64::try_from(most).unwrap_or(u64::MAX);
    decoder.take(bound.saturating_add(1)).read_to_end(&mut body).map_err(|_broken| Undecodable::Broken)?;
    if body.len() > most { Err(Undecodable::TooLong) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    const PLAIN: &[u8] = b"{\"access_token\":\"abc\"}";

    fn decode(coding: Option<&'static str>, body: &[u8]) -> Result<Vec<u8>, Undecodable> {
        let mut headers = HeaderMap::new();
        headers.extend(coding.map(|coding| (CONTENT_ENCODING, HeaderValue::from_static(coding))));
        decoded(&headers, Zeroizing::new(body.to_vec()), 1024).map(|body| body.to_vec())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_came_compressed_is_read() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(PLAIN).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(PLAIN).unwrap();
        for (coding, body) in [
            (None, PLAIN.to_vec()),
            (Some("identity"), PLAIN.to_vec()),
            (Some("gzip"), gzip(PLAIN)),
            (Some("X-GZIP, identity"), gzip(PLAIN)),
            (None, gzip(PLAIN)),
            (Some("gzip"), PLAIN.to_vec()),
            (Some("deflate"), zlib.finish().unwrap()),
            (Some("deflate"), raw.finish().unwrap()),
        ] {
            assert_eq!(decode(coding, &body).as_deref(), Ok(PLAIN), "{coding:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_has_its_reason() {
        assert_eq!(decode(Some("br"), PLAIN), Err(Undecodable::Unknown));
        assert_eq!(decode(Some("gzip, gzip"), &gzip(&gzip(PLAIN))), Err(Undecodable::Unknown));
        assert_eq!(decode(Some("gzip"), &gzip(PLAIN)[..20]), Err(Undecodable::Broken));
        assert_eq!(decode(Some("gzip"), &gzip(&vec![b' '; 2_000_000])), Err(Undecodable::TooLong), "a bomb");
    }
}
