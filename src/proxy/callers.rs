//! Callers are asked who they are: by 407 and `Proxy-Authorization` on a forward listener (RFC 9110 section 11.7), by 401 and
//! `Authorization` on a reverse one, which stands for the server (section 11.6). There the field is theirs, and goes nowhere.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};

use super::Proxy;
use super::error::Refusal;
use crate::caller::Attempt;
use crate::listen::{CallerConnection, Peer};
use crate::runtime::{ListenerRuntime, ModeRuntime};

/// The name of the caller, where the listener asks for one; its proof is taken off.
pub(super) fn authenticate(
    listener: &ListenerRuntime,
    headers: &mut HeaderMap,
    connection: &CallerConnection,
) -> Result<Option<Arc<str>>, Refusal> {
    let Some(callers) = &listener.callers else { return Ok(None) };
    let on_proxy = !matches!(listener.mode, ModeRuntime::Reverse { .. });
    let field = if on_proxy { PROXY_AUTHORIZATION } else { AUTHORIZATION };
    let detail = match callers.authenticate(&field, headers, connection) {
        Attempt::Accepted(name) => return Ok(Some(name)),
        Attempt::Refused => "there is no such caller, or its password is another one",
        Attempt::Missing if on_proxy => {
            "this proxy is for its callers: give the program a proxy URL with name and password, http://NAME:PASSWORD@HOST:PORT"
        }
        Attempt::Missing => {
            "this listener is for its callers: use http://NAME:PASSWORD@HOST:PORT as the base URL, or send Authorization: Basic"
        }
    };
    Err(if on_proxy { Refusal::proxy_authentication(detail) } else { Refusal::authentication(detail) })
}

/// `listeners.L.users`: who may connect, by what the system says of the other end.
pub(super) fn admits_user(listener: &ListenerRuntime, caller: &CallerConnection) -> bool {
    let Some(users) = &listener.users else { return true };
    let user = caller.user();
    let admitted = user.is_some_and(|uid| users.contains(&uid));
    if !admitted {
        listener.metrics.denied.inc();
        let (name, peer) = (&listener.name, user.map_or(caller.peer, |uid| Peer::User(Some(uid))));
        // 0 is no status: it keeps these lines apart from refused requests.
        match listener.refusals.take(0) {
            Some(suppressed) => {
                tracing::info!(target: "attache::proxy", listener = %name, %peer, suppressed, "a user who is not among the listener's `users` was turned away");
            }
            None => tracing::debug!(target: "attache::proxy", listener = %name, %peer, "turned away"),
        }
    }
    admitted
}

impl Proxy {
    /// `listeners.L.title_case`: how its callers read names of fields.
    #[must_use]
    pub fn title_case(&self, listener: usize) -> bool {
        self.runtime.current().listener(listener).is_some_and(|listener| listener.title_case)
    }
}
