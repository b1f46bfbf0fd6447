//! What the fuzz target of sealed values holds against them: nothing that was not sealed opens, and what is opened can be used.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::keys::CacheKeys;
use super::names::{SharedIdentity, Tag};
use super::protocol::Stored;
use super::seal::{self, Kind};
use super::value::{FailureValue, TokenValue};
use crate::secret::{Secret, SecretSource, Secrets};
use crate::token::judge_token;

/// Reads what lies in the store: the bytes as they are, then as what was sealed by one who has the key.
///
/// # Errors
/// Something opens that was not sealed, or differs when it is sealed and opened again, or a token that no header may hold.
pub fn cache_value(bytes: &[u8]) -> Result<(), String> {
    let literal = SecretSource::Literal(Secret::new("a key of more than 32 characters".to_owned()));
    let keys = CacheKeys::read(&Secrets::one(literal)).map_err(|error| error.to_string())?;
    let tag = Tag::new(keys.first(), "attache", &SharedIdentity::new(&[1; 32], [], false));
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    if TokenValue::open(&keys, &tag, &stored(bytes.to_vec()), wall, None).is_ok()
        || FailureValue::open(&keys, &tag, 1, bytes, wall).is_ok()
    {
        return Err("something opens that was not sealed".into());
    }
    let sealed = |kind| seal::seal(&keys, kind, &tag, 1, Zeroizing::new(bytes.to_vec())).ok();
    if let Some(sealed) = sealed(Kind::Token)
        && let Ok(value) = TokenValue::open(&keys, &tag, &stored(sealed), wall, None)
    {
        judge_token(value.token.expose()).map_err(|fault| format!("a token is opened that {fault}"))?;
        let again = value.seal(&keys, &tag, 1).map_err(|error| error.to_string());
        // Nothing is written that was not read, so it is no longer; escapes may be.
        if let Ok(again) = again
            && TokenValue::open(&keys, &tag, &stored(again), wall, None).as_ref() != Ok(&value)
        {
            return Err("a token is another one when it is sealed and opened again".into());
        }
    }
    if let Some(sealed) = sealed(Kind::Failure)
        && let Ok(value) = FailureValue::open(&keys, &tag, 1, &sealed, wall)
        && let Ok(again) = value.seal(&keys, &tag, 1)
        && FailureValue::open(&keys, &tag, 1, &again, wall).as_ref() != Ok(&value)
    {
        return Err("a failure is another one when it is sealed and opened again".into());
    }
    Ok(())
}

fn stored(sealed: Vec<u8>) -> Stored {
    Stored { generation: 1, sealed, age: Duration::ZERO, left: Duration::from_secs(60 * 60), renewals: 0 }
}
