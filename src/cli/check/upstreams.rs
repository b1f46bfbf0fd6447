//! Upstreams in `attache check --live`: whether each can be reached and shaken hands with, before a request has to.

use serde::Serialize;
use tokio::runtime::Handle;

use super::diagnosis::Diagnosis;
use crate::app::{UpstreamTrial, try_upstreams};
use crate::cli::output::{BOLD, Failure, data, talk};
use crate::config::Config;
use crate::upstream::{ExchangeErrorKind as Kind, Reached};

/// What one upstream did.
#[derive(Debug, Serialize)]
pub(super) struct UpstreamCheck {
    upstream: String,
    origin: String,
    /// The parent proxy that it is reached through.
    via: Option<String>,
    pub(super) ok: bool,
    /// Only a request says which host is meant.
    untried: bool,
    /// The address at the other end of the connection, or where there was none, the one that was dialled.
    address: Option<String>,
    /// The version.
    tls: Option<&'static str>,
    /// What is spoken there: `1.1` or `2`.
    http: Option<&'static str>,
    took_ms: Option<u128>,
    error: Option<String>,
    /// The likely cause of the failure, and what to do.
    #[serde(flatten)]
    diagnosis: Option<Diagnosis>,
}

/// Tries each upstream, in the configuration's order.
pub(super) async fn check(config: &Config) -> Result<Vec<UpstreamCheck>, Failure> {
    let trials = try_upstreams(config, &Handle::current()).await.map_err(Failure::failed)?;
    Ok(trials.into_iter().map(UpstreamCheck::of).collect())
}

impl UpstreamCheck {
    fn of(trial: UpstreamTrial) -> Self {
        let UpstreamTrial { name, origin, via, address, outcome, took } = trial;
        let untried = outcome.is_none();
        let (reached, error) = match outcome {
            Some(Ok(reached)) => (Some(reached), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let http = |reached: Reached| if reached.http2 { "2" } else { "1.1" };
        Self {
            upstream: name,
            origin,
            ok: error.is_none(),
            untried,
            address: address.map(|address| address.to_string()),
            tls: reached.and_then(|reached| reached.tls),
            http: reached.map(http),
            took_ms: (!untried).then_some(took.as_millis()),
            diagnosis: error.as_ref().map(|error| diagnosis(error.kind, via.is_some())),
            error: error.map(|error| error.detail),
            via,
        }
    }
}

/// The likely cause, by the kind of the failure alone: its message says the rest.
fn diagnosis(kind: Kind, through_proxy: bool) -> Diagnosis {
    let (cause, next_step) = match kind {
        Kind::DnsError => (
            "there is no such host, or not for this machine's name servers",
            "compare the host in origin with what the API's documentation says, letter by letter; a name of a private network may need its VPN",
        ),
        Kind::DnsTimeout => {
            ("this machine's name servers do not answer", "see which ones it asks, and whether it is on the network")
        }
        Kind::DestinationIpProhibited => (
            "a token may go out in clear to this machine only, and the name leads elsewhere",
            "write https:// in origin",
        ),
        Kind::ProxyLoopDetected => ("it leads back to attache itself", "write the API's own address in origin"),
        Kind::ConnectionRefused if through_proxy => {
            ("the parent proxy refuses, or nobody listens there", "correct via, or ask who runs the proxy")
        }
        Kind::ConnectionRefused => (
            "nobody listens at that port, or there is no way to that machine from here",
            "check that the API runs, and the port in origin (or in connect)",
        ),
        Kind::ConnectionTimeout => (
            "a firewall swallows the connection, or the machine is off",
            "try it with curl from this machine; where the way out is a proxy, name that in via",
        ),
        Kind::ProxyConfiguration | Kind::DestinationUnavailable => (
            "the parent proxy does not open a way to it",
            "correct via; via = { url = …, username = …, password = { env = … } } says who asks",
        ),
        Kind::TlsCertificateError => (
            "its certificate is not acceptable here: another issuer, or another time",
            "do what the message says: tls.ca_file takes the issuer's PEM file or the server's own certificate; an expired one is renewed there, by who runs the API",
        ),
        Kind::TlsCertificateName => (
            "another host answers there than the one that origin names, or the same by a name that its certificate lacks",
            "compare the host in origin with the names in the message; tls.server_name says which of them is meant, where origin has to be another",
        ),
        Kind::TlsAlertReceived => (
            "the server speaks TLS, and refuses attache's",
            "follow what the message says; a client certificate is named by tls.client_certificate and tls.client_key",
        ),
        Kind::TlsProtocolError | Kind::ConnectionTerminated | Kind::HttpProtocolError => (
            "the scheme and the port in origin do not belong together, or something stands before the API",
            "http:// and https:// mostly have ports of their own: compare both with the API's documentation",
        ),
        _ => ("the upstream cannot be used just now", "try again, or follow what the message says"),
    };
    Diagnosis { cause: cause.to_owned(), next_step: next_step.to_owned() }
}

/// The table of upstreams, and what is wrong with each.
pub(super) fn print(checks: &[UpstreamCheck]) -> Result<(), Failure> {
    if checks.is_empty() {
        return Ok(());
    }
    let widest =
        |title: &str, of: &dyn Fn(&UpstreamCheck) -> usize| checks.iter().map(of).max().unwrap_or(0).max(title.len());
    let name = widest("upstream", &|row| row.upstream.len());
    let origin = widest("origin", &|row| row.origin.len());
    let address = widest("address", &|row| row.address.as_ref().map_or(1, String::len));
    data(format_args!(
        "\n{BOLD}{:<name$}  {:<origin$}  {:<address$}  {:<7}  {:<4}  {:<4}  {:>7}{BOLD:#}",
        "upstream", "origin", "address", "result", "tls", "http", "took"
    ))?;
    for row in checks {
        let result = match (row.untried, row.ok) {
            (true, _) => "untried",
            (false, true) => "ok",
            (false, false) => "failed",
        };
        let took = row.took_ms.map_or_else(|| "-".to_owned(), |took| format!("{took} ms"));
        let at = row.address.as_deref().unwrap_or("-");
        data(format_args!(
            "{:<name$}  {:<origin$}  {at:<address$}  {result:<7}  {:<4}  {:<4}  {took:>7}",
            row.upstream,
            row.origin,
            row.tls.unwrap_or("-"),
            row.http.unwrap_or("-"),
        ))?;
    }
    for row in checks {
        if let Some(error) = &row.error {
            let via = row.via.as_ref().map_or_else(String::new, |via| format!(" (through the parent proxy {via})"));
            talk(format_args!("error: upstream {:?}: {error}{via}", row.upstream))?;
        }
        if let Some(Diagnosis { cause, next_step }) = &row.diagnosis {
            talk(format_args!("  likely cause: {cause}\n  next step:    {next_step}"))?;
        }
    }
    Ok(())
}
