//! Tests that cannot run everywhere.

/// Says that a test checks nothing here, and why. Where everything is to be checked (`CI` is set) that is a failure: what is not
/// installed there would otherwise be green for ever.
#[expect(clippy::print_stderr, reason = "a test that checks nothing must not pass in silence")]
#[track_caller]
pub fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{why}: in CI this is checked (.ci/run)");
    eprintln!("SKIPPED: {why}");
}
