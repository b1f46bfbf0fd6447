//! What an admin listener answered, and in words why it refused.

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use crate::admin::{Problem, ProblemType};

/// The variable that holds the admin token, where the configuration does not name one that can be read here.
pub(super) const TOKEN_VARIABLE: &str = "ATTACHE_ADMIN_TOKEN";

/// What came back.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answered {
    /// The document of a 200, else a sentence.
    pub(super) fn document(&self, asked: &str) -> Result<serde_json::Value, String> {
        if self.status == StatusCode::OK {
            return self.json().ok_or_else(|| format!("{asked} answers something that is no JSON; is that attache?"));
        }
        Err(self.refusal(asked))
    }

    /// Why the admin API refused.
    pub(super) fn refusal(&self, asked: &str) -> String {
        let status = self.status.as_u16();
        let Some(Problem { kind, detail, .. }) = self.json() else {
            return format!("{asked} answers {status}: it gives no reason");
        };
        match kind {
            ProblemType::TokenRequired => format!("{asked} answers {status}: {detail}; set {TOKEN_VARIABLE}"),
            ProblemType::Blank => format!("{asked} answers {status}: {detail}"),
        }
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}
