//! What the fuzz targets hold against the rule: random histories of what upstreams, callers and an authorization server do, on
//! a virtual clock; `oracle` says what must come of them.

mod event;
#[cfg(test)]
mod model_tests;
mod oracle;

use self::event::Event::{self, Request as Ask, Revoke, Wait};
use self::event::{Path, Upstream};
use self::oracle::World;

/// A history: its first byte says what kinds of upstreams there are, and each two bytes are something that happens.
///
/// # Errors
/// Which of the points does not hold.
pub fn history(input: &[u8]) -> Result<(), String> {
    let Some((kinds, script)) = input.split_first() else { return Ok(()) };
    let kind = |of: u8| match of % 4 {
        0 | 1 => Upstream::Good,
        2 => Upstream::Bad,
        _ => Upstream::OneBadServer,
    };
    let kinds: Vec<Upstream> = (0..=kinds % 3).map(|at| kind(kinds >> (2 + 2 * at))).collect();
    World::new(&kinds).run(&script.as_chunks::<2>().0.iter().copied().map(event).collect::<Vec<_>>())
}

fn event([what, how]: [u8; 2]) -> Event {
    let upstream = usize::from(how % 3);
    let path = match (how / 3) % 18 {
        0..6 => Path::Good((how / 3) % 3),
        6..9 => Path::Item,
        9..11 => Path::Bad(how % 2),
        11 => Path::BadItem,
        12 => Path::BadOf,
        13 => Path::Upload,
        14 => Path::BadUpload,
        15 => Path::Down,
        16 => Path::Public,
        _ => Path::Shaky,
    };
    match what % 22 {
        0..12 => Ask(upstream, path),
        12..14 => Event::Slow(upstream, path, what / 52),
        14..16 => Revoke,
        16 => Event::Restart(how % 20),
        17..21 => Wait(u32::from(how) * 12 + 1),
        _ => Wait(3000 + u32::from(how) * 460),
    }
}
