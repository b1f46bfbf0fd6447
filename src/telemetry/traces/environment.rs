//! What the standard variables of OpenTelemetry say that its SDK leaves to the program.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

/// What is spoken to a collector, as the variables name it.
const SPOKEN: &str = "http/protobuf";

/// For each signal, then for all of them; the first that is set counts.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The first of these that is set; one that is empty is not (OpenTelemetry, "Environment Variable Specification").
fn first_set(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().map(|name| (name, variable(name))).find(|(_, value)| !value.is_empty())
}

/// True if the configuration or the environment names a collector, and nothing turns traces off.
#[must_use]
pub(crate) fn are_wanted(endpoint: Option<&str>) -> bool {
    let off = variable("OTEL_SDK_DISABLED").eq_ignore_ascii_case("true") || variable("OTEL_TRACES_EXPORTER") == "none";
    !off && (endpoint.is_some() || first_set(ENDPOINTS).is_some())
}

/// Says that another protocol is asked for than is spoken; the specification has an unknown one ignored with a warning.
pub(super) fn warn_of_protocol() {
    let Some((name, value)) = first_set(PROTOCOLS).filter(|(_, value)| !value.eq_ignore_ascii_case(SPOKEN)) else {
        return;
    };
    tracing::warn!(
        target: "attache::telemetry",
        "{name} is {value:?}, which attache does not speak: traces go out as {SPOKEN}; name the collector's HTTP port, usually 4318, and set the variable to {SPOKEN:?}"
    );
}

/// Scheme, host and port of the collector, for people: a URL may hold more than they should see.
pub(super) fn collector(endpoint: Option<&str>) -> String {
    let url = endpoint.map(str::to_owned).or_else(|| first_set(ENDPOINTS).map(|(_, url)| url)).unwrap_or_default();
    url::Url::parse(&url).map_or_else(|_none| "the collector".to_owned(), |url| url.origin().ascii_serialization())
}

/// What the spans are of. What the environment says goes first.
pub(super) fn resource() -> Resource {
    let said = variable("OTEL_RESOURCE_ATTRIBUTES");
    let says = |name: &str| said.split(',').any(|pair| pair.split('=').next().is_some_and(|key| key.trim() == name));
    let mut resource = Resource::builder();
    if variable("OTEL_SERVICE_NAME").is_empty() && !says("service.name") {
        resource = resource.with_service_name("attache");
    }
    let own = [("service.version", env!("CARGO_PKG_VERSION").to_owned()), ("service.instance.id", instance_id())];
    let own = own.into_iter().filter(|(name, _)| !says(name)).map(|(name, value)| KeyValue::new(name, value));
    resource.with_attributes(own).build()
}

/// A UUID of version 4 (RFC 9562 section 5.4), another one at each start.
fn instance_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness two replicas have the same; nothing else depends on it.
    let _filled = aws_lc_rs::rand::fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_a_uuid_of_its_own() {
        let (one, other) = (instance_id(), instance_id());
        assert_ne!(one, other);
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{one}");
        assert!(one.as_bytes()[14] == b'4' && b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }

    #[test]
    fn a_collector_is_shown_without_what_may_be_secret() {
        assert_eq!(collector(Some("https://me:secret@c.test:4318/secret")), "https://c.test:4318");
    }
}
