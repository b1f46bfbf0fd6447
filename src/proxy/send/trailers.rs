//! A token that the upstream has taken is noted: with the head of the answer, or with its trailers where only they can tell.

use std::sync::Arc;

use http::{HeaderMap, Version};
use tokio::time::Instant;

use super::grpc;
use super::sent_request::{Sent, UpstreamResponse, renewals, request_path};
use super::unauthorized::{count, warrant};
use crate::credential::{Authorization, Credential};
use crate::proxy::body::response::OnTrailers;
use crate::proxy::context::TraceIds;
use crate::proxy::outcome::UnauthorizedOutcome;
use crate::proxy::routing::destination::ResolvedRoute;
use crate::proxy::state::{Proxy, ProxyShared};
use crate::renewal::{Answer, Renewals, RequestPath};
use crate::runtime::ListenerRoute;

/// An answer, with what its trailers have to be watched for, if anything.
pub(super) type Settled = (UpstreamResponse, Option<OnTrailers>);

pub(super) fn settled(
    proxy: &Proxy,
    route: &ResolvedRoute,
    sent: &Sent<'_>,
    response: UpstreamResponse,
    verdict: Answer,
) -> Settled {
    if verdict != Answer::Taken {
        return (response, None);
    }
    if response.version() == Version::HTTP_2 && grpc::is_told_in_trailers(response.headers()) {
        let watch = TrailerWatch::new(proxy, route, sent);
        return (response, Some(Box::new(move |trailers| watch.ended(trailers))));
    }
    let place = request_path(route, sent.request.head);
    accepted(renewals(&route.at, sent.credential), sent.credential, &sent.authorization, sent.left_at, place);
    (response, None)
}

fn accepted(
    renewals: &Renewals,
    credential: &Credential,
    authorization: &Authorization,
    sent_at: Option<Instant>,
    place: RequestPath<'_>,
) {
    let generation = authorization.generation();
    let acceptance = renewals.accepted(generation, sent_at, place);
    if acceptance.first {
        credential.accepted(generation);
    }
    if let Some(evidence) = acceptance.proved {
        credential.renewal_helped(evidence);
    }
}

/// A gRPC answer under way, until its trailers say whether the token was taken.
struct TrailerWatch {
    shared: Arc<ProxyShared>,
    at: Arc<ListenerRoute>,
    credential: Arc<Credential>,
    authorization: Authorization,
    sent_at: Option<Instant>,
    host: Option<Box<str>>,
    path: Box<str>,
}

impl TrailerWatch {
    fn new(proxy: &Proxy, route: &ResolvedRoute, sent: &Sent<'_>) -> Self {
        let place = request_path(route, sent.request.head);
        Self {
            shared: Arc::clone(&proxy.shared),
            at: Arc::clone(&route.at),
            credential: Arc::clone(sent.credential),
            authorization: sent.authorization.clone(),
            sent_at: sent.left_at,
            host: place.host.map(Into::into),
            path: place.path.into(),
        }
    }

    /// The trailers have come.
    fn ended(self, trailers: &HeaderMap) {
        let renewals = renewals(&self.at, &self.credential);
        let place = RequestPath { host: self.host.as_deref(), path: &self.path };
        if !grpc::says_unauthenticated(trailers) {
            return accepted(renewals, &self.credential, &self.authorization, self.sent_at, place);
        }
        if self.at.route.settings.retry.enabled {
            let mut decided = None;
            let warrant = |standing| warrant(renewals, place, standing, &mut decided);
            self.credential.renew_for_later(&self.authorization, warrant);
        }
        count(
            &self.shared,
            &self.at,
            self.authorization.generation(),
            UnauthorizedOutcome::InTrailers,
            TraceIds::default(),
        );
    }
}
