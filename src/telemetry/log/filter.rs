//! What a log filter says, and what none can turn on.

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::error::LogError;

/// Libraries that print header fields or bodies at `trace` or `debug`: h2 prints every frame's fields, and hyper the raw
/// buffer. No filter a user writes can turn these on; a token in a log is worth more than any of it.
const SILENCED: [&str; 8] =
    ["h2", "hyper", "hyper_util", "opentelemetry", "opentelemetry-otlp", "opentelemetry_sdk", "reqwest", "rustls"];

/// Reads a filter, without what it says about the silenced libraries.
///
/// # Errors
/// [`LogError::Filter`].
pub(super) fn parse(filter: &str) -> Result<Targets, LogError> {
    let wrong = || LogError::Filter(filter.to_owned());
    // The library takes any word for a target, and logs nothing else then: a level that is misspelt would end the log.
    if filter.split(',').all(|directive| directive.trim().is_empty()) || filter.split(',').any(is_lone_word) {
        return Err(wrong());
    }
    filter.parse().map(|asked| silence(&asked)).map_err(|_invalid| wrong())
}

/// True for what is neither a level nor looks like a target.
fn is_lone_word(directive: &str) -> bool {
    let word = directive.trim();
    let is_target = word == "attache" || word.contains("::") || word.contains('=');
    !word.is_empty() && !is_target && word.parse::<LevelFilter>().is_err()
}

/// The library takes a target for a prefix of text, `h2:` too, and the longest counts: whatever begins as a silenced one does is
/// left out.
fn silence(asked: &Targets) -> Targets {
    let silenced = |target: &str| SILENCED.iter().any(|library| target.starts_with(library));
    Targets::new()
        .with_default(asked.default_level().unwrap_or(LevelFilter::OFF))
        .with_targets(asked.iter().filter(|(target, _)| !silenced(target)))
        .with_targets(SILENCED.map(|library| (library, LevelFilter::WARN)))
        // It tells every refused certificate as an error of its own; attache tells whose it was, and what to do.
        .with_target("rustls_platform_verifier", LevelFilter::OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_turns_on_the_libraries_that_print_header_fields() {
        let filter = parse("trace,h2::codec=trace,hyper=debug,attache=debug").unwrap();
        let enabled = |target: &str| filter.would_enable(target, &tracing::Level::DEBUG);
        assert!(!enabled("h2::codec::framed_read") && !enabled("hyper::proto") && !enabled("rustls::client"));
        assert!(enabled("attache::token"));
    }

    #[test]
    fn no_part_of_a_name_turns_them_on() {
        for asked in
            ["h2:", "h2::c", "hyper:", "hyper_ut", "hyper_util:", "opentelemetry-o", "reqwest:", "rustls:", "h"]
        {
            let filter = parse(&format!("attache=trace,{asked}=trace")).unwrap();
            for library in SILENCED {
                let enabled = |target: &str| filter.would_enable(target, &tracing::Level::INFO);
                assert!(!enabled(library) && !enabled(&format!("{library}::codec")), "{asked} turns {library} on");
            }
            assert!(filter.would_enable("attache::token", &tracing::Level::TRACE), "{asked}");
        }
    }

    #[test]
    fn a_level_that_is_misspelt_is_no_target() {
        for wrong in ["", " , ", "==", "dbug", "info,wran", "attache::token=loud"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        for right in ["debug", "OFF", "warn, attache::token=debug", "attache::proxy", "attache", "mine=info"] {
            assert!(parse(right).is_ok(), "{right:?}");
        }
    }
}
