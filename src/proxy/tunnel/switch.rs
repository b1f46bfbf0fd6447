//! Requests that go on in another protocol: WebSocket and whatever else an upstream agrees to.

use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use tokio::io::AsyncWriteExt as _;

use super::copy::copy_bidirectional;
use super::lifetime;
use crate::listen::{Incoming, Upgrade};
use crate::proxy::body::request::RequestBody;
use crate::proxy::body::response::CallerBody;
use crate::proxy::error::ProxyError;
use crate::proxy::head::hop_by_hop;
use crate::proxy::send::UpstreamResponse;
use crate::proxy::source::TunnelSource;
use crate::proxy::state::Proxy;
use crate::upstream::{ResponseBody, Upstream};

/// What RFC 6455 section 1.3 has a server put behind the key.
const ACCEPT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A caller's side of a switch that the upstream is asked for.
pub(in crate::proxy) struct Switch {
    caller: Upgrade,
    /// The protocols that were asked for.
    asked: HeaderValue,
    /// The caller speaks HTTP/2: it knows no key, so this one is attache's.
    key: Option<HeaderValue>,
}

/// WebSocket over HTTP/2 (RFC 8441) becomes what every upstream understands: the handshake of HTTP/1.1.
pub(in crate::proxy) fn read_extended_connect(head: &mut Parts, body: &Incoming) -> Result<(), ProxyError> {
    let Some(protocol) = body.extended_connect() else { return Ok(()) };
    if !protocol.eq_ignore_ascii_case("websocket") {
        let detail = "of the protocols of an extended CONNECT only websocket is known here (RFC 8441)";
        return Err(ProxyError::not_implemented(detail));
    }
    let mut key = [0; 16];
    // It protects nothing: a server shows with it that it has read the request.
    let _filled = aws_lc_rs::rand::fill(&mut key);
    let key = HeaderValue::from_str(&BASE64.encode(key)).unwrap_or(HeaderValue::from_static(""));
    head.method = Method::GET;
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    head.headers.insert(SEC_WEBSOCKET_KEY, key);
    Ok(())
}

/// Puts the wish on the request that goes out, if it can be kept.
pub(in crate::proxy) fn ask(asked: Option<HeaderValue>, head: &mut Parts, body: &mut Incoming) -> Option<Switch> {
    let asked = asked?;
    // With a body it would not be clear where the new protocol begins.
    let caller = if body.is_end_stream() { body.take_upgrade()? } else { return None };
    head.headers.insert(UPGRADE, asked.clone());
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let over_http2 = head.version == http::Version::HTTP_2;
    let key = if over_http2 { head.headers.get(SEC_WEBSOCKET_KEY).cloned() } else { None };
    Some(Switch { caller, asked, key })
}

impl Switch {
    /// True of an answer that would open the stream of an extended CONNECT, though the upstream has not switched: there any
    /// success does (RFC 8441 section 5).
    pub(in crate::proxy) fn would_be_opened_by(&self, status: StatusCode) -> bool {
        self.key.is_some() && status.is_success()
    }

    /// Whether the upstream switches to what it was asked for, and has read the request.
    fn is_agreed(&self, answer: &HeaderMap) -> bool {
        let asked = |to: &[u8]| hop_by_hop::list_members(&self.asked).any(|asked| asked.eq_ignore_ascii_case(to));
        let mut to = answer.get_all(UPGRADE).iter().flat_map(hop_by_hop::list_members).peekable();
        let accepted = || answer.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
        to.peek().is_some()
            && to.all(asked)
            && self.key.as_ref().is_none_or(|key| accepted() == Some(accept(key).as_bytes()))
    }
}

/// What a server that has read this key answers (RFC 6455 section 4.2.2).
fn accept(key: &HeaderValue) -> String {
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), ACCEPT].concat());
    BASE64.encode(digest)
}

/// Joins the two sides of a switch that both have agreed to.
pub(in crate::proxy) fn join(
    proxy: &Rc<Proxy>,
    switch: Option<Switch>,
    response: UpstreamResponse,
    upstream: &Upstream,
    source: TunnelSource,
) -> Result<Response<CallerBody>, ProxyError> {
    let Some(switch) = switch.filter(|switch| switch.is_agreed(response.headers())) else {
        return Err(ProxyError::bad_response("the upstream switched to a protocol that it was not asked for"));
    };
    let (mut head, body) = response.into_parts();
    carry(proxy, source, switch.caller, body, upstream.settings.timeouts.idle);
    let to = head.headers.get(UPGRADE).cloned().unwrap_or(switch.asked);
    hop_by_hop::clean_response(&mut head.headers, head.status);
    if switch.key.is_some() {
        // An extended CONNECT is answered like any request (RFC 8441 section 5.1).
        head.status = StatusCode::OK;
        head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    } else {
        head.headers.insert(UPGRADE, to);
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    Ok(Response::from_parts(head, CallerBody::empty()))
}

fn carry(
    proxy: &Rc<Proxy>,
    source: TunnelSource,
    caller: Upgrade,
    upstream: ResponseBody<RequestBody>,
    idle: Duration,
) {
    let Some((mut upstream, early)) = upstream.into_upgraded() else { return };
    let admitting = Rc::clone(proxy);
    proxy.spawn(async move {
        let Ok(mut caller) = caller.upgraded().await else { return };
        let passing = async {
            // An upstream may speak right behind its 101.
            if caller.write_all(&early).await.is_ok() {
                copy_bidirectional(&mut caller, &mut upstream, idle).await;
            }
        };
        lifetime::while_admitted(&admitting, &source, passing).await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accepted_key_is_that_of_the_standard() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
