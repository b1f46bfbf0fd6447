//! `[telemetry]`.

use crate::config::syntax::reader::{TableReader, set};
use crate::config::syntax::value::Value;
use crate::telemetry::{AccessLogFormat, AccessLogTarget, TelemetrySettings};

const FORMATS: [(&str, AccessLogFormat); 4] = [
    ("text", AccessLogFormat::Text),
    ("json", AccessLogFormat::Json),
    ("combined", AccessLogFormat::Combined),
    ("otel", AccessLogFormat::Otel),
];

/// Reads `[telemetry]`.
pub(crate) fn telemetry(mut table: TableReader<'_>) -> TelemetrySettings {
    let mut settings = TelemetrySettings::default();
    if let Some(value) = table.get("access_log")
        && let Some(text) = value.text()
    {
        settings.access_log.to = match text {
            "off" => None,
            "stdout" => Some(AccessLogTarget::Stdout),
            path if path.contains(['/', '.']) => Some(AccessLogTarget::File(value.file.path(value.at, path))),
            _ => value
                .wrong("is neither a word nor a path", "write \"stdout\", \"off\" or a path such as \"access.log\""),
        };
    }
    let format = table.get("access_log_format").and_then(|value| value.choice(&FORMATS, &[]));
    set(&mut settings.access_log.format, format);
    set(&mut settings.access_log.query, table.get("access_log_query").and_then(|value| value.boolean()));
    set(&mut settings.server_timing, table.get("server_timing").and_then(|value| value.boolean()));
    set(&mut settings.request_id, table.get("request_id").and_then(|value| value.boolean()));
    settings.otlp_endpoint = table.get("otlp_endpoint").and_then(|value| collector(&value));
    table.finish();
    settings
}

fn collector(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let fits = |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.username().is_empty();
    match url::Url::parse(text) {
        Ok(url) if fits(&url) => Some(text.to_owned()),
        _ => value.wrong(
            "is no http:// or https:// URL",
            "write the collector's base URL, such as \"http://127.0.0.1:4318\"",
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{config, problems};
    use crate::telemetry::AccessLogTarget;

    const LISTENER: &str = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n";

    #[test]
    fn the_access_log_goes_to_stdout_a_file_or_nowhere() {
        let to =
            |value: &str| config(&format!("{LISTENER}[telemetry]\naccess_log = \"{value}\"\n")).telemetry.access_log.to;
        assert_eq!(to("stdout"), Some(AccessLogTarget::Stdout));
        assert_eq!(to("logs/a"), Some(AccessLogTarget::File("logs/a".into())));
        assert_eq!((to("off"), config(LISTENER).telemetry.access_log.to), (None, None));
        let found = problems(&format!("{LISTENER}[telemetry]\naccess_log = \"of\"\notlp_endpoint = \"x\"\n"));
        assert_eq!(found.len(), 2, "{found:#?}");
    }
}
