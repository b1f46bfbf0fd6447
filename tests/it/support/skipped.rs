//! Tests that cannot run everywhere.

use std::io::Write as _;

/// Says that a test checks nothing here, and why. Where everything is to be checked that is a failure: what is not installed
/// there would otherwise be green for ever. `.ci/run` sets the variable.
#[track_caller]
pub fn skipped(why: &str) {
    assert!(std::env::var_os("ATTACHE_TESTS_SKIP_NOTHING").is_none(), "{why}: here nothing is skipped (.ci/run)");
    // A test that checks nothing must not pass in silence; without a standard error there is nobody to tell.
    let _told = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
