//! The fields that speak of one connection, whether `Connection` names them or not.

use http::HeaderName;
use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};

/// RFC 9110 section 7.6.1. No message of HTTP/2 may have them (RFC 9113 section 8.2.2).
pub(crate) const CONNECTION_FIELDS: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
