//! gRPC tells a refused token in `grpc-status`, under a 200: in the head where there is no message, else in the trailers,
//! when the answer has gone and nothing can be sent again.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode, Version};
use tokio::time::Instant;

use super::retry::{self, Sent};
use super::{Settled, UpstreamResponse};
use crate::credential::{Authorization, Credential};
use crate::proxy::routing::destination::Reached;
use crate::proxy::{Proxy, ProxyShared};
use crate::renewal::{Answer, Renewals, RequestPath};
use crate::runtime::ListenerRoute;

static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// `UNAUTHENTICATED`.
const UNAUTHENTICATED: &str = "16";

/// What was done about a token that trailers refuse.
const OUTCOME: &str = "in_trailers";

/// True for a refusal without a message.
pub(in crate::proxy) fn is_unauthenticated(response: &UpstreamResponse) -> bool {
    response.status() == StatusCode::OK && says_unauthenticated(response.headers())
}

fn says_unauthenticated(fields: &HeaderMap) -> bool {
    fields.get(&STATUS).is_some_and(|status| status == UNAUTHENTICATED)
}

/// Notes that the upstream has taken the token, or has its trailers watched where only they can tell.
pub(in crate::proxy) fn settled(
    proxy: &Proxy,
    reached: &Reached,
    sent: &Sent<'_>,
    response: UpstreamResponse,
    told: Answer,
) -> Settled {
    if told != Answer::Taken {
        return (response, None);
    }
    if response.version() == Version::HTTP_2 && is_told_in_trailers(&response) {
        return (response, Some(Box::new(TrailerWatch::begin(proxy, reached, sent))));
    }
    let renewals = retry::renewals(reached, sent.credential);
    accepted(renewals, sent.credential, &sent.authorization, sent.left_at, retry::place(reached, sent.head));
    (response, None)
}

fn is_told_in_trailers(response: &UpstreamResponse) -> bool {
    let fields = response.headers();
    let is_grpc = |kind: &http::HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
    fields.get(CONTENT_TYPE).is_some_and(is_grpc) && !fields.contains_key(&STATUS)
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

/// A gRPC answer under way, until its trailers say what became of the token.
pub(in crate::proxy) struct TrailerWatch {
    shared: Arc<ProxyShared>,
    listener_route: Arc<ListenerRoute>,
    credential: Arc<Credential>,
    authorization: Authorization,
    sent_at: Option<Instant>,
    host: Option<Box<str>>,
    path: Box<str>,
}

impl TrailerWatch {
    fn begin(proxy: &Proxy, reached: &Reached, sent: &Sent<'_>) -> Self {
        let place = retry::place(reached, sent.head);
        Self {
            shared: Arc::clone(&proxy.shared),
            listener_route: Arc::clone(&reached.listener_route),
            credential: Arc::clone(sent.credential),
            authorization: sent.authorization.clone(),
            sent_at: sent.left_at,
            host: place.host.map(Into::into),
            path: place.path.into(),
        }
    }

    /// The trailers have come.
    pub(in crate::proxy) fn ended(self, trailers: &HeaderMap) {
        let renewals = retry::renewals_of(&self.listener_route, &self.credential);
        let place = RequestPath { host: self.host.as_deref(), path: &self.path };
        if !says_unauthenticated(trailers) {
            return accepted(renewals, &self.credential, &self.authorization, self.sent_at, place);
        }
        if self.listener_route.route.settings.retry.enabled {
            let mut decided = None;
            let warrant = |standing| retry::warrant(renewals, place, standing, &mut decided);
            self.credential.renew_for_later(&self.authorization, warrant);
        }
        retry::count(&self.shared, &self.listener_route, self.authorization.generation(), OUTCOME);
    }
}
