//! What the fuzz targets hold against hosts as callers write them.

use super::authority::Authority;
use super::host::Host;

/// A host and perhaps a port: what was read reads the same again, which is what canonical means.
///
/// # Errors
/// It does not.
pub fn authority(bytes: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(()) };
    let Ok(authority) = Authority::parse(text) else { return Ok(()) };
    let again = Host::parse(&authority.host).map_err(|error| format!("a canonical host is refused: {error}"))?;
    if again.as_str() == &*authority.host { Ok(()) } else { Err(format!("{again} is read of {}", authority.host)) }
}
