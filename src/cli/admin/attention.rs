//! What does not work, and which hosts have no upstream, on a terminal.

use anstyle::{AnsiColor, Style};

use super::text::clean;
use crate::admin::{Attention, RefusedHost};
use crate::cli::output::counted;

const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();

/// A line for each, and one with its next step.
pub(super) fn attention(all: &[Attention]) -> String {
    all.iter().map(told).collect()
}

fn told(one: &Attention) -> String {
    let colour = if one.level == "failing" { RED } else { YELLOW };
    let name = one.name.as_deref().map_or_else(String::new, |name| format!(" {}", clean(name)));
    let (about, sentence, next) = (clean(&one.about), clean(&one.sentence), clean(&one.next_step));
    format!("  {colour}{about}{name}{colour:#}  {sentence}\n    next step   {next}\n")
}

/// Hosts that programs asked for and that no upstream covers; nothing where there are none.
pub(super) fn refused(all: &[RefusedHost]) -> String {
    let Some(newest) = all.first() else { return String::new() };
    let what = if newest.refused { "refused" } else { "passed without an upstream" };
    let requests = counted(all.iter().map(|host| host.count).sum::<u64>(), "request");
    let (hosts, last) = (counted(all.len(), "host"), clean(&newest.origin));
    format!("  {YELLOW}{what}: {requests}, {hosts} (last: {last}){YELLOW:#}\n")
}
