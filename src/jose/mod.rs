//! Signed JWTs (RFC 7515, RFC 7519): the keys and the signing.
//!
//! A [`SigningKey`] is read once, from PEM or a private JWK, and kept as aws-lc keeps it. jsonwebtoken would parse it anew
//! for each signature, which a proof for each request (RFC 9449) cannot afford; it verifies in the tests what is signed
//! here.

mod algorithm;
mod error;
mod jwk;
mod key;
mod pair;
mod pem;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(crate) use algorithm::Algorithm;
pub(crate) use error::KeyError;
pub(crate) use key::{JwtHeader, SigningKey};

/// 128 random bits in base64url: a `jti` (RFC 7519 section 4.1.7).
#[must_use]
pub(crate) fn unique_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 16];
    if rand::fill(&mut bytes).is_err() {
        // aws-lc ends the process sooner than it says so. Without randomness an id is still used only once.
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let count = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
        bytes = (since_1970.as_nanos() << 32 | count).to_be_bytes();
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
