//! Tests that cannot run everywhere.

/// Says that a test checks nothing here, and why. Where everything is to be checked that is a failure: what is not installed
/// there would otherwise be green for ever. `.ci/run` sets the variable.
#[expect(clippy::print_stderr, reason = "a test that checks nothing must not pass in silence")]
#[track_caller]
pub fn skipped(why: &str) {
    assert!(std::env::var_os("ATTACHE_TESTS_SKIP_NOTHING").is_none(), "{why}: here nothing is skipped (.ci/run)");
    eprintln!("SKIPPED: {why}");
}
