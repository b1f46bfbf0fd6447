//! Bytes passed through unread: tunnels that are not opened, and what follows a WebSocket's 101.

use std::cell::Cell;
use std::fmt::Display;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::Proxy;
use super::body::RequestBody;
use super::error::Refusal;
use crate::coarse::{Deadline, Tick};
use crate::runtime::{Lane, ListenerRuntime, Runtime, UnmatchedRuntime};
use crate::upstream::{Origin, ResponseBody};

/// A tunnel cannot keep rules about methods and paths.
pub(super) fn check_rules(lane: &Lane) -> Result<(), Refusal> {
    if lane.route.settings.allow.is_empty() {
        return Ok(());
    }
    let name = lane.route.name();
    Err(Refusal::denied(format!(
        "upstream {name:?} has `allow` rules, which a tunnel cannot keep; request http:// through this proxy instead, or have it opened (`attache ca init`)"
    )))
}

/// What a CONNECT asks for: nobody knows what will be spoken there.
pub(super) fn target(origin: &Origin) -> String {
    format!("{}:{}", origin.host, origin.port)
}

/// The host to request through the proxy instead of a tunnel: with its port, unless that goes without saying.
pub(super) fn instead(origin: &Origin) -> String {
    if matches!(origin.port, 80 | 443) { origin.host.to_string() } else { target(origin) }
}

/// The upstream that dials unmatched origins, if policy lets them pass. `asked` is how the caller named this one.
pub(super) fn unmatched<'a>(
    runtime: &'a Runtime,
    listener: &ListenerRuntime,
    origin: &Origin,
    asked: &dyn Display,
) -> Result<&'a std::sync::Arc<crate::upstream::Upstream>, Refusal> {
    match &runtime.unmatched {
        UnmatchedRuntime::Deny => Err(Refusal::denied(format!(
            "no upstream covers {asked}; add one to the configuration, or set [forward] unmatched = \"pass\""
        ))),
        UnmatchedRuntime::Pass { http, https, report } => {
            if *report {
                listener.metrics.would_deny.inc();
                tracing::warn!(target: "attache::proxy", listener = %listener.name, origin = %asked, "would be denied: no upstream covers it");
            }
            Ok(match origin.scheme {
                crate::upstream::Scheme::Http => http,
                crate::upstream::Scheme::Https => https,
            })
        }
    }
}

/// Joins the two sides of a protocol switch that both have agreed to.
pub(super) fn switch(proxy: &Proxy, caller: OnUpgrade, upstream: ResponseBody<RequestBody>, idle: Duration) {
    let Some((mut upstream, early)) = upstream.into_upgraded() else { return };
    proxy.spawn(async move {
        let Ok(caller) = caller.await else { return };
        let mut caller = TokioIo::new(caller);
        // An upstream may speak right behind its 101.
        if caller.write_all(&early).await.is_ok() {
            splice(&mut caller, &mut upstream, idle).await;
        }
    });
}

/// Copies both ways until both have ended, one has failed, or nothing has moved for too long. The end of one direction is
/// passed on and the other goes on (half-close).
pub(super) async fn splice<A, B>(caller: A, upstream: B, idle: Duration)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Rc::new(Cell::new(Tick::now()));
    let mut caller = Watched { inner: caller, moved: Rc::clone(&moved) };
    let mut upstream = Watched { inner: upstream, moved: Rc::clone(&moved) };
    let mut deadline = Deadline::at(Tick::now().after(idle));
    let silent = std::future::poll_fn(|cx| {
        deadline.move_to(moved.get().after(idle));
        deadline.poll(cx)
    });
    tokio::select! {
        ended = tokio::io::copy_bidirectional(&mut caller, &mut upstream) => {
            if let Err(error) = ended {
                tracing::debug!(target: "attache::proxy", %error, "tunnel ended");
            }
        }
        () = silent => tracing::debug!(target: "attache::proxy", "tunnel closed: nothing moved for {}", humantime::format_duration(idle)),
    }
}

/// Notes when bytes moved.
struct Watched<T> {
    inner: T,
    moved: Rc<Cell<Tick>>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if polled.is_ready() {
            self.moved.set(Tick::now());
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if polled.is_ready() {
            self.moved.set(Tick::now());
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
