//! `?verbose` of probes: text, one line for each check, in the form of kube-apiserver's.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use super::report::CredentialStatus;

/// Whether `verbose` is asked for, with whatever value.
pub(super) fn is_verbose(uri: &Uri) -> bool {
    let parameters = uri.query().into_iter().flat_map(|query| query.split('&'));
    parameters.map(|parameter| parameter.split('=').next()).any(|name| name == Some("verbose"))
}

/// One line.
pub(super) struct Check {
    pub(super) name: String,
    /// Why, if it has.
    pub(super) failed: Option<String>,
}

impl Check {
    pub(super) const fn ok(name: String) -> Self {
        Self { name, failed: None }
    }

    /// Of a credential that is required.
    pub(super) fn of(credential: &CredentialStatus, is_ok: bool) -> Self {
        let why = || credential.last_error.clone().unwrap_or_else(|| "its token request has not ended yet".to_owned());
        Self { name: format!("credential/{}", credential.name), failed: (!is_ok).then(why) }
    }
}

/// The answer of a probe.
pub(super) fn verbose(probe: &str, checks: &[Check]) -> Response {
    let mut text = String::new();
    for Check { name, failed } in checks {
        match failed {
            None => text.extend(["[+]", name, " ok\n"]),
            // A line break would begin another check.
            Some(why) => text.extend(["[-]", name, " failed: ", &why.replace(['\n', '\r'], " "), "\n"]),
        }
    }
    let passed = checks.iter().all(|check| check.failed.is_none());
    text.extend([probe, if passed { " check passed\n" } else { " check failed\n" }]);
    let code = if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_is_a_parameter_of_its_own() {
        for (target, asks) in
            [("/livez?verbose", true), ("/livez?a&verbose=1", true), ("/livez", false), ("/livez?x=verbose", false)]
        {
            assert_eq!(is_verbose(&target.parse().unwrap()), asks, "{target}");
        }
    }
}
