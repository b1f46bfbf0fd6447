//! `[limits]`.

use crate::config::syntax::reader::{TableReader, set};
use crate::config::syntax::value::Value;
use crate::listen::Limits;

/// A request line and a few fields have to fit.
const MIN_HEADER_BYTES: usize = 8 * 1024;

/// Every connection may take this much; more is no request head.
const MAX_HEADER_BYTES: usize = 16 * 1024 * 1024;

/// Reads `[limits]`.
pub(crate) fn limits(mut table: TableReader<'_>) -> Limits {
    let mut limits = Limits::default();
    let connections = table.get("connections").and_then(|value| value.integer(1..=10_000_000));
    set(&mut limits.connections, connections.and_then(|number| usize::try_from(number).ok()));
    let per_address = table.get("connections_per_address").and_then(|value| value.integer(1..=10_000_000));
    limits.connections_per_address = per_address.and_then(|number| usize::try_from(number).ok());
    set(&mut limits.header_bytes, table.get("header_bytes").and_then(|value| header_bytes(&value)));
    limits.body_bytes = table.get("body_bytes").and_then(|value| value.size());
    set(&mut limits.header_timeout, table.get("header_timeout").and_then(|value| value.duration()));
    set(&mut limits.keep_alive, table.get("keep_alive").and_then(|value| value.duration()));
    limits.requests_per_second = table.get("requests_per_second").and_then(|value| value.integer(1..=u32::MAX));
    limits.requests_per_second_per_caller =
        table.get("requests_per_second_per_caller").and_then(|value| value.integer(1..=u32::MAX));
    set(&mut limits.replay_memory, table.get("replay_memory").and_then(|value| value.size()));
    set(&mut limits.drain, table.get("drain").and_then(|value| value.duration_or_zero()));
    limits.drain_delay = table.get("drain_delay").and_then(|value| value.duration_or_zero());
    table.finish();
    limits
}

fn header_bytes(value: &Value<'_>) -> Option<usize> {
    let size = usize::try_from(value.size()?).unwrap_or(usize::MAX);
    if (MIN_HEADER_BYTES..=MAX_HEADER_BYTES).contains(&size) {
        return Some(size);
    }
    value.wrong("is out of range", "write a size from \"8KiB\" to \"16MiB\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems};

    const LISTENER: &str = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";

    #[test]
    fn limits_left_out_have_their_defaults() {
        assert_eq!(config(LISTENER).limits, Limits::default());
        let limits = config(&format!(
            "{LISTENER}[limits]\nconnections = 7\nrequests_per_second = 5\ndrain = \"0s\"\ndrain_delay = \"5s\"\n"
        ))
        .limits;
        assert_eq!((limits.connections, limits.requests_per_second), (7, Some(5)));
        assert!(limits.drain.is_zero());
        assert_eq!(limits.drain_delay, Some(std::time::Duration::from_secs(5)));
    }

    #[test]
    fn senseless_limits_are_refused() {
        let found = problems(&format!(
            "{LISTENER}[limits]\nconnections = 0\nheader_bytes = \"1KiB\"\nrequests_per_second = -1\nheader_timeout = \"0s\"\n"
        ));
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].contains("`limits.connections` is out of range; write a whole number from 1 to "));
        assert!(found[1].contains("`limits.header_bytes` is out of range; write a size from \"8KiB\""));
    }
}
