//! What `/metrics` reads from what is running when it is asked: nothing has to keep these up to date.

use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::fleet::Fleet;
use crate::runtime::{Certificate, CertificateKind, SharedRuntime};
use crate::store::StoreState;
use crate::token::TokenStatus;

/// Read from the credentials when asked: nothing has to keep a gauge up to date.
#[derive(Debug)]
pub(super) struct Lifetimes(pub(super) SharedRuntime);

#[expect(clippy::cast_precision_loss, reason = "seconds and counts are far below 2^52")]
impl Collector for Lifetimes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        type Figure = fn(&TokenStatus) -> f64;
        let families: [(&str, &str, Figure); 4] = [
            ("token_expires_in_seconds", "Seconds until the current token expires; 0 without one", |status| {
                status.expires_in.map_or(0.0, |left| left.as_secs() as f64)
            }),
            ("token_age_seconds", "Seconds since the current token came; 0 without one", |status| {
                let age = status.fetched_at.and_then(|at| SystemTime::now().duration_since(at).ok());
                age.map_or(0.0, |age| age.as_secs() as f64)
            }),
            ("token_generation", "Tokens obtained since the start", |status| status.generation as f64),
            ("token_waiters", "Requests that wait for a token now", |status| status.waiters as f64),
        ];
        let runtime = self.0.current();
        // Read once for all of them: each reading takes the lock of its credential.
        let read: Vec<_> = runtime.credentials.iter().map(|credential| (credential, credential.status())).collect();
        for (name, help, figure) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (credential, status) in read.iter().filter(|(credential, _)| credential.is_obtained()) {
                let labels = [("credential", credential.name.as_str())];
                ConstGauge::new(figure(status)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "0 while the last try at a token failed and there is none to use, 1 otherwise";
        let mut family = encoder.encode_descriptor("credential_up", help, None, MetricType::Gauge)?;
        for (credential, status) in &read {
            let labels = [("credential", credential.name.as_str())];
            ConstGauge::new(u64::from(status.is_up())).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Certificates that have to be renewed in time, of the configuration that is live.
#[derive(Debug)]
pub(super) struct Certificates(pub(super) SharedRuntime);

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        type Moment = fn(&Certificate) -> SystemTime;
        let families: [(&str, &str, Moment); 2] = [
            (
                "certificate_not_before_timestamp_seconds",
                "When a certificate begins that attache shows or signs with, since 1970",
                |certificate| certificate.not_before,
            ),
            (
                "certificate_not_after_timestamp_seconds",
                "When a certificate ends that attache shows or signs with, since 1970",
                |certificate| certificate.not_after,
            ),
        ];
        let runtime = self.0.current();
        for (name, help, moment) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for certificate in &runtime.certificates {
                let since = moment(certificate).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let labels = [("kind", kind(certificate.kind)), ("name", certificate.name.as_str())];
                ConstGauge::new(since.as_secs()).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

const fn kind(of: CertificateKind) -> &'static str {
    match of {
        CertificateKind::Intercept => "intercept",
        CertificateKind::Listener => "listener",
        CertificateKind::Upstream => "upstream",
        CertificateKind::Credential => "credential",
    }
}

/// How the replica stands with the others. Without `[cache]` there is nothing that could be up or down.
#[derive(Debug)]
pub(super) struct Sharing(pub(super) SharedRuntime);

impl Collector for Sharing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        type Figure = fn(&Fleet) -> f64;
        let families: [(&str, &str, Figure); 3] = [
            ("cache_up", "1 with a connection to the shared cache, 0 without", |fleet| {
                if fleet.store().state == StoreState::Away { 0.0 } else { 1.0 }
            }),
            ("cache_replicas", "Replicas that share tokens, by the newest heartbeat", |fleet| {
                f64::from(fleet.replica().replicas())
            }),
            ("cache_clock_skew_seconds", "By how much the shared cache's clock is ahead of this machine's", |fleet| {
                fleet.replica().skew()
            }),
        ];
        let fleet = self.0.current().fleet.upgrade();
        for (name, help, figure) in families {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            if let Some(fleet) = &fleet {
                ConstGauge::new(figure(fleet)).encode(family)?;
            }
        }
        Ok(())
    }
}
