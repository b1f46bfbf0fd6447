//! Errors of the admin API are problem documents too (RFC 9457).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// What answers a request that is not served, as it is written here and read by attache's own commands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    #[serde(rename = "type", default)]
    pub(crate) kind: ProblemType,
    title: String,
    status: u16,
    pub(crate) detail: String,
    /// Each problem of a configuration that was not taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
}

/// By what programs decide; the sentence may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum ProblemType {
    /// `admin.token` is set, and the request does not have it.
    #[serde(rename = "urn:attache:problem:admin-token-required")]
    TokenRequired,
    /// The status says all (RFC 9457 section 4.2.1).
    #[default]
    #[serde(rename = "about:blank", other)]
    Blank,
}

impl Problem {
    pub(super) fn new(kind: ProblemType, status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { kind, title, status: status.as_u16(), detail: detail.into(), problems: Vec::new() }
    }

    /// 422: the old configuration stays.
    pub(super) fn not_reloaded(problems: Vec<String>) -> Self {
        let detail = format!("the old configuration stays in use: {}", problems.join("; "));
        let title = "The configuration is not reloaded".to_owned();
        let status = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
        Self { kind: ProblemType::Blank, title, status, detail, problems }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let document = serde_json::to_string(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], document).into_response()
    }
}

/// One of no type of its own.
pub(super) fn problem(status: StatusCode, detail: impl Into<String>) -> Response {
    Problem::new(ProblemType::Blank, status, detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_of_a_later_version_is_read_as_one_that_says_nothing() {
        let read = |kind: &str| -> ProblemType {
            let document = format!(r#"{{"type":"{kind}","title":"Forbidden","status":403,"detail":"no"}}"#);
            serde_json::from_str::<Problem>(&document).unwrap().kind
        };
        assert_eq!(read("urn:attache:problem:admin-token-required"), ProblemType::TokenRequired);
        assert_eq!((read("about:blank"), read("of-tomorrow")), (ProblemType::Blank, ProblemType::Blank));
        let written = serde_json::to_value(Problem::new(ProblemType::Blank, StatusCode::NOT_FOUND, "no")).unwrap();
        assert_eq!((written["type"].as_str(), written.get("problems")), (Some("about:blank"), None));
    }
}
