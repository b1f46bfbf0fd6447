//! Why an exchange over HTTP/1.1 failed.

use std::io;

use crate::tls::broken_reason;
use crate::upstream::error::{ExchangeError, ExchangeErrorKind};
use crate::upstream::outgoing::BodyError;

#[derive(Debug)]
pub(in crate::upstream) enum Fault {
    /// The connection ended or broke before a whole response head.
    Ended(io::Error),
    /// The server did not accept attache's certificate, and says so in the place of its first answer.
    Refused(String),
    /// The response is no HTTP/1.1 that can be relied on.
    Protocol(&'static str),
    /// The caller's body broke off, or does not have the length it was said to have.
    Body(BodyError),
}

impl Fault {
    /// `stale`: the connection had been used before, and not one byte came back.
    pub(in crate::upstream) fn into_error(self, stale: bool) -> ExchangeError {
        match self {
            Self::Ended(error) => ExchangeError::ended(&broken_reason(&error), stale),
            Self::Refused(reason) => ExchangeError::new(ExchangeErrorKind::TlsAlertReceived, reason),
            Self::Protocol(what) => ExchangeError::new(ExchangeErrorKind::HttpProtocolError, what),
            Self::Body(error) => ExchangeError::invalid_body(&*error),
        }
    }
}
