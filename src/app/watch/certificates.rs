//! Rotated certificates: an upstream or a listener whose files have changed shows the new certificate on its next connections.
//! Requests in flight end on the connections they have.

use std::sync::Arc;
use std::time::SystemTime;

use crate::app::build::state::Certificates;
use crate::app::build::tls::{certificate_sources, listener_identities, upstream_certificate};
use crate::app::build::{refreshed, with_certificates};
use crate::app::live::{Live, State};
use crate::app::sources::BuildError;
use crate::config::Config;
use crate::tls::{ClientIdentity, IdentitySource};

/// What was said about each upstream's files.
#[derive(Debug)]
pub(crate) struct CertificateWatch {
    /// Where they are, in the configuration's order.
    sources: Arc<Vec<Option<IdentitySource>>>,
    /// Why they could not be used the last time.
    complaints: Vec<Option<String>>,
}

impl CertificateWatch {
    pub(crate) fn of(config: &Config) -> Self {
        Self { sources: Arc::new(certificate_sources(config)), complaints: vec![None; config.upstreams.len()] }
    }

    /// Reads all certificates and takes over what has changed. True if something has.
    pub(crate) async fn look(&mut self, live: &Arc<Live>, before: &Arc<State>) -> bool {
        let State { config, built } = &**before;
        if self.sources.iter().all(Option::is_none) {
            return false;
        }
        // Without an answer the looking itself broke off: there is another in a moment.
        let Some(read) = read(config, &self.sources, built.certificates.clone()).await else { return false };
        let found = self.sort(config, &built.certificates, read);
        if found == built.certificates {
            return false;
        }
        match with_certificates(&live.context, config, built, found) {
            Ok(next) => {
                let changed = built.certificates.iter().zip(next.certificates.clone());
                let changed: Vec<_> = config.upstreams.iter().zip(changed).collect();
                let replaced = live.replace(before, Arc::clone(config), next);
                for (upstream, (old, new)) in changed {
                    if let Some(new) = new.filter(|new| replaced && old.as_ref() != Some(new)) {
                        taken_over(&upstream.connection.name, &new);
                    }
                }
                replaced
            }
            Err(error) => {
                tracing::warn!(target: "attache::app", %error, "a changed certificate cannot be used yet");
                false
            }
        }
    }

    /// What each upstream shows from now on. A pair that cannot be used, perhaps because one file of it has been replaced and
    /// the other not yet, is what it was; that is said once.
    fn sort(&mut self, config: &Config, before: &Certificates, read: Vec<Read>) -> Certificates {
        let upstreams = config.upstreams.iter().zip(&mut self.complaints);
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

/// Takes over changed certificates of listeners. Connections that stand keep theirs.
pub(crate) async fn listeners_have_changed(live: &Live, before: &Arc<State>) -> bool {
    let state = Arc::clone(before);
    let look = move || listener_identities(&state.config, Some(&state.built));
    let Ok(Ok(now)) = tokio::task::spawn_blocking(look).await else { return false };
    if now == before.built.listener_tls {
        return false;
    }
    match refreshed(&live.context, &before.config, &before.built) {
        Ok(next) => {
            tracing::info!(target: "attache::app", "the certificate of a listener has changed and is in use");
            live.replace(before, Arc::clone(&before.config), next)
        }
        Err(error) => {
            tracing::warn!(target: "attache::app", %error, "a changed certificate cannot be used yet");
            false
        }
    }
}

type Read = Result<Option<ClientIdentity>, BuildError>;

/// Files may be on a network that hangs: not on the control thread itself. What a program would have to print is left as it
/// is: nobody wants it run every two seconds.
async fn read(
    config: &Arc<Config>,
    sources: &Arc<Vec<Option<IdentitySource>>>,
    before: Certificates,
) -> Option<Vec<Read>> {
    let (config, sources) = (Arc::clone(config), Arc::clone(sources));
    let all = move || {
        let upstreams = config.upstreams.iter().zip(&*sources).zip(before);
        let looked = upstreams.map(|((upstream, source), known)| match source {
            Some(source) if source.certificate.is_command() || source.key.is_command() => Ok(known),
            source => upstream_certificate(upstream, source.as_ref()),
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
