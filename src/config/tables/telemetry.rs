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
    if let Some(value) = table.get("access_log_format") {
        set(&mut settings.access_log.format, value.choice(&FORMATS, &[]));
        if !table.has("access_log") {
            let what = format!("`{}` has no effect: there is no access_log", value.path);
            value.file.warning(value.at, what, "write access_log = \"stdout\" or a path, or remove it");
        }
    }
    set(&mut settings.access_log.query, table.get("access_log_query").and_then(|value| value.boolean()));
    set(&mut settings.server_timing, table.get("server_timing").and_then(|value| value.boolean()));
    set(&mut settings.request_id, table.get("request_id").and_then(|value| value.boolean()));
    settings.otlp_endpoint = table.get("otlp_endpoint").and_then(|value| collector(&value));
    table.finish();
    settings
}

fn collector(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let fits = |url: &url::Url| matches!(url.scheme(), "http" | "https");
    match url::Url::parse(text) {
        Ok(url) if fits(&url) && (!url.username().is_empty() || url.password().is_some()) => value.wrong(
            "has user information in front of the host, which is not sent",
            "write the URL without it, and the credentials into the variable OTEL_EXPORTER_OTLP_HEADERS, as authorization=Basic%20…",
        ),
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

    #[test]
    fn a_format_without_an_access_log_is_warned_about() {
        let warned = |rest: &str| {
            let read = config(&format!("{LISTENER}[telemetry]\naccess_log_format = \"json\"\n{rest}"));
            let of_format = read.warnings.into_iter().filter(|warning| warning.what.contains("access_log"));
            of_format.map(|warning| (warning.at, warning.what)).collect::<Vec<_>>()
        };
        let what = "`telemetry.access_log_format` has no effect: there is no access_log".to_owned();
        assert_eq!(warned(""), [(Some((5, 21)), what)]);
        for written in ["stdout", "off"] {
            assert_eq!(warned(&format!("access_log = \"{written}\"\n")), [], "{written}");
        }
    }

    #[test]
    fn user_information_in_the_collectors_url_is_refused_and_not_repeated() {
        for user in ["me:sentinel", ":sentinel", "sentinel"] {
            let found = problems(&format!("{LISTENER}[telemetry]\notlp_endpoint = \"http://{user}@a.test:4318\"\n"));
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(
                found[0].contains("user information") && found[0].contains("OTEL_EXPORTER_OTLP_HEADERS"),
                "{found:#?}"
            );
            assert!(!found[0].contains("sentinel"), "{found:#?}");
        }
    }
}
