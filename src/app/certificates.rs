//! Rotated client certificates: an upstream whose files have changed shows the new certificate on its next connections.
//! Requests in flight end on the connections they have.

use std::sync::Arc;
use std::time::SystemTime;

use super::build::{Certificates, certificate_source, upstream_certificate};
use super::rotation::Live;
use super::sources::BuildError;
use crate::config::Config;
use crate::tls::ClientIdentity;

/// What was said about each upstream's files.
#[derive(Debug)]
pub(super) struct CertificateWatch {
    /// Why they could not be used the last time, in the configuration's order.
    complaints: Vec<Option<String>>,
}

impl CertificateWatch {
    pub(super) fn of(config: &Config) -> Self {
        Self { complaints: vec![None; config.upstreams.len()] }
    }

    /// Reads all certificates and takes over what has changed. True if something has.
    pub(super) async fn look(&mut self, live: &Arc<Live>) -> bool {
        if live.config.upstreams.iter().all(|upstream| certificate_source(&live.config, upstream).is_none()) {
            return false;
        }
        // Without an answer the looking itself broke off: there is another in a moment.
        let before = live.current();
        let Some(read) = read(live, before.certificates.clone()).await else { return false };
        let found = self.sort(live, &before.certificates, read);
        if found == before.certificates {
            return false;
        }
        match live.builder.with_certificates(&live.config, &before, found) {
            Ok(next) => {
                for (upstream, (old, new)) in
                    live.config.upstreams.iter().zip(before.certificates.iter().zip(&next.certificates))
                {
                    if let Some(new) = new.as_ref().filter(|new| old.as_ref() != Some(new)) {
                        taken_over(&upstream.connection.name, new);
                    }
                }
                live.swap(Arc::new(next));
                true
            }
            Err(error) => {
                tracing::warn!(target: "attache::app", %error, "a changed certificate cannot be used yet");
                false
            }
        }
    }

    /// What each upstream shows from now on. A pair that cannot be used, perhaps because one file of it has been replaced and
    /// the other not yet, is what it was; that is said once.
    fn sort(&mut self, live: &Live, before: &Certificates, read: Vec<Read>) -> Certificates {
        let upstreams = live.config.upstreams.iter().zip(&mut self.complaints);
        let sorted = upstreams.zip(before).zip(read).map(|(((upstream, complaint), before), read)| match read {
            Ok(identity) => {
                *complaint = None;
                identity
            }
            Err(error) => {
                let reason = error.to_string();
                if complaint.as_ref() != Some(&reason) {
                    let upstream = &upstream.connection.name;
                    tracing::warn!(target: "attache::app", %upstream, "the changed certificate cannot be used, the old one stays in use: {reason}");
                    *complaint = Some(reason);
                }
                before.clone()
            }
        });
        sorted.collect()
    }
}

type Read = Result<Option<ClientIdentity>, BuildError>;

/// Files may be on a network that hangs: not on the control thread itself. What a program would have to print is left as it
/// is: nobody wants it run every two seconds.
async fn read(live: &Arc<Live>, before: Certificates) -> Option<Vec<Read>> {
    let live = Arc::clone(live);
    let all = move || {
        let looked = live.config.upstreams.iter().zip(before).map(|(upstream, known)| {
            match certificate_source(&live.config, upstream) {
                Some(source) if source.certificate.is_command() || source.key.is_command() => Ok(known),
                _ => upstream_certificate(&live.config, upstream),
            }
        });
        looked.collect()
    };
    tokio::task::spawn_blocking(all).await.ok()
}

fn taken_over(upstream: &str, certificate: &ClientIdentity) {
    tracing::info!(target: "attache::app", %upstream, ?certificate, "the certificate has changed and is in use");
    if let Some(doubt) = certificate.doubt(SystemTime::now()) {
        tracing::warn!(target: "attache::app", %upstream, "{doubt}");
    }
}
