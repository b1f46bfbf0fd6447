//! Scripts that the server runs, and what it answers to them and to plain commands.

use std::sync::OnceLock;

use aws_lc_rs::digest;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value, cmd};

/// A script on one key. The server keeps the texts that it has seen, by their SHA-1.
#[derive(Debug)]
pub(crate) struct Script {
    /// Its name in metrics.
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    /// Whenever it succeeds, something has been written.
    pub(super) always_writes: bool,
    sha1: OnceLock<String>,
}

/// An answer, of the kinds that scripts give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Integer(i64),
    Bytes(Vec<u8>),
    Array(Vec<Self>),
}

impl Script {
    /// One that may succeed without a write.
    pub(crate) const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, always_writes: false, sha1: OnceLock::new() }
    }

    /// One whose every success is a write: by it one sees that a full server takes writes again.
    pub(crate) const fn writing(name: &'static str, text: &'static str) -> Self {
        Self { name, text, always_writes: true, sha1: OnceLock::new() }
    }

    /// EVALSHA, and EVAL where the server does not know the script (any more). Not by SCRIPT LOAD, which is another permission.
    pub(super) async fn evaluate(
        &self,
        connection: &mut MultiplexedConnection,
        key: &str,
        arguments: &[Vec<u8>],
    ) -> RedisResult<Value> {
        let known = Self::call("EVALSHA", self.sha1(), key, arguments);
        match answer(connection, &known).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                answer(connection, &Self::call("EVAL", self.text, key, arguments)).await
            }
            answered => answered,
        }
    }

    fn call(command: &str, script: &str, key: &str, arguments: &[Vec<u8>]) -> Cmd {
        let mut call = cmd(command);
        call.arg(script).arg(1).arg(key);
        for argument in arguments {
            call.arg(argument.as_slice());
        }
        call
    }

    fn sha1(&self) -> &str {
        self.sha1.get_or_init(|| {
            let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, self.text.as_bytes());
            digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        })
    }
}

/// What the server answers to one command; an error that it answers is an error.
pub(super) async fn answer(connection: &mut MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    connection.send_packed_command(command).await?.extract_error()
}

/// The role of a server that takes writes, in HELLO and ROLE.
pub(super) const PRIMARY: &str = "master";

/// What the server answers to ROLE; `None` for what makes no sense.
pub(super) async fn role(connection: &mut MultiplexedConnection) -> RedisResult<Option<String>> {
    let Value::Array(said) = answer(connection, &cmd("ROLE")).await? else { return Ok(None) };
    Ok(said.first().and_then(text).map(str::to_owned))
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

impl Reply {
    /// `None` for a kind that no script gives.
    pub(super) fn of(value: Value) -> Option<Self> {
        Some(match value {
            Value::Nil => Self::Nil,
            Value::Int(number) => Self::Integer(number),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Okay => Self::Bytes(b"OK".to_vec()),
            Value::Array(values) => Self::Array(values.into_iter().map(Self::of).collect::<Option<_>>()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_the_sha1_of_its_text() {
        // As `redis-cli script load "return 1"` says.
        assert_eq!(Script::new("one", "return 1").sha1(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }

    #[test]
    fn what_no_script_answers_is_no_reply() {
        let nested = Value::Array(vec![Value::Int(1), Value::Okay, Value::Nil, Value::SimpleString("a".into())]);
        let expected = Reply::Array(vec![
            Reply::Integer(1),
            Reply::Bytes(b"OK".to_vec()),
            Reply::Nil,
            Reply::Bytes(b"a".to_vec()),
        ]);
        assert_eq!(Reply::of(nested), Some(expected));
        assert_eq!(Reply::of(Value::Array(vec![Value::Map(Vec::new())])), None);
    }
}
