//! What the `allow` rules of an upstream say of a request.

use http::Method;

use super::reading;
use super::settings::AllowRule;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// It passes.
    Granted,
    /// No rule covers it.
    Denied,
    /// The path can be read in several ways, of which the rules let some pass and others not.
    Ambiguous,
}

/// Whether one of these rules lets it pass.
pub(super) fn permitted(allow: &[AllowRule], method: &Method, path: &str) -> Permission {
    let rules = || allow.iter().filter(|rule| rule.methods.is_empty() || rule.methods.contains(method));
    let covered = |path: &str, decoded: bool| {
        let covers = |rule: &AllowRule| rule.paths.iter().any(|pattern| pattern.covers_reading(path, decoded));
        rules().any(|rule| rule.paths.is_empty() || covers(rule)).then_some(())
    };
    match reading::agreed(path, covered) {
        Ok(Some(())) => Permission::Granted,
        Ok(None) => Permission::Denied,
        Err(reading::Ambiguous) => Permission::Ambiguous,
    }
}
