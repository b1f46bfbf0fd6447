//! Callers are asked who they are: by 407 and `Proxy-Authorization` on a forward listener (RFC 9110 section 11.7), by 401 and
//! `Authorization` on a reverse one, which stands for the server (section 11.6). There the field is theirs, and goes nowhere.

use http::HeaderMap;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};

use super::rate::Admission;
use crate::caller::{Authentication, Proven};
use crate::listen::{CallerAt, CallerConnection, Peer};
use crate::proxy::error::ProxyError;
use crate::proxy::outcome::Outcome;
use crate::proxy::source::RequestSource;
use crate::proxy::state::Proxy;
use crate::runtime::{ListenerRuntime, ModeRuntime};
use crate::telemetry::Code;

/// Who is asking, where the listener asks for that, if it may ask for one thing more now. Inside of a tunnel it is the one that
/// opened it, as long as that is good.
pub(in crate::proxy) fn admit(
    admission: &Admission,
    listener: &ListenerRuntime,
    source: RequestSource<'_>,
    headers: &mut HeaderMap,
) -> Result<Option<Proven>, ProxyError> {
    let proven = match source.inside {
        Some(inside) if still_admits(listener, inside.opener.as_ref(), source.connection) => {
            // Where callers are not asked any more, none has a name.
            inside.opener.clone().filter(|_| listener.callers.is_some())
        }
        Some(_) => {
            return Err(ProxyError::turned_away(
                "the one that opened this tunnel is no longer a caller of the listener, or has another password now; open a new one",
            ));
        }
        None if is_still_user(listener, source.connection) => {
            authenticate(admission, listener, headers, source.caller())?
        }
        None => {
            return Err(ProxyError::turned_away("this user is no longer among those who may use the listener"));
        }
    };
    admission.admit(proven.as_ref().map(|proven| &*proven.name), source.caller())?;
    Ok(proven)
}

/// The caller, where the listener asks for one; its proof is taken off.
fn authenticate(
    admission: &Admission,
    listener: &ListenerRuntime,
    headers: &mut HeaderMap,
    from: CallerAt<'_>,
) -> Result<Option<Proven>, ProxyError> {
    let Some(callers) = &listener.callers else { return Ok(None) };
    let on_proxy = !matches!(listener.mode, ModeRuntime::Reverse { .. });
    let field = if on_proxy { PROXY_AUTHORIZATION } else { AUTHORIZATION };
    let attempt = callers.authenticate(&field, headers, from);
    if attempt == Authentication::Refused {
        // A wrong password is a request too. Beyond the bound on guesses it is none, or strangers would use up what callers may.
        admission.admit(None, from)?;
    }
    let detail = match attempt {
        Authentication::Accepted(proven) => return Ok(Some(proven)),
        Authentication::TooMany(after) => return Err(ProxyError::too_many_guesses(after)),
        Authentication::Refused => "there is no such caller, or its password is another one",
        Authentication::Missing if on_proxy => {
            "this proxy is for its callers: give the program a proxy URL with name and password, http://NAME:PASSWORD@HOST:PORT"
        }
        Authentication::Missing => {
            "this listener is for its callers: use http://NAME:PASSWORD@HOST:PORT as the base URL, or send Authorization: Basic"
        }
    };
    Err(if on_proxy { ProxyError::proxy_authentication(detail) } else { ProxyError::authentication(detail) })
}

impl Proxy {
    /// `listeners.L.users`: true if this caller may connect. One that may not gets no answer.
    pub(crate) async fn admits(&self, listener: usize, connection: &CallerConnection) -> bool {
        let runtime = self.runtime.current();
        let Some(listener) = runtime.listener(listener) else { return true };
        admits_user(listener, connection).await
    }
}

/// Who may connect, by what the system says of the other end.
async fn admits_user(listener: &ListenerRuntime, caller: &CallerConnection) -> bool {
    let Some(users) = &listener.users else { return true };
    let user = caller.user().await;
    let admitted = user.is_some_and(|uid| users.contains(&uid));
    if !admitted {
        listener.metrics.count(Outcome::Denied, Code::None);
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

/// True if a caller that is authenticated like this, or did not have to be, may still use the listener.
pub(in crate::proxy) fn still_admits(
    listener: &ListenerRuntime,
    proven: Option<&Proven>,
    connection: &CallerConnection,
) -> bool {
    is_still_user(listener, connection)
        && match (&listener.callers, proven) {
            (None, _) => true,
            (Some(callers), Some(proven)) => callers.still_knows(proven, connection),
            (Some(_), None) => false,
        }
}

/// `listeners.L.users` again: the user at the other end of a unix socket is known for as long as it is open.
fn is_still_user(listener: &ListenerRuntime, connection: &CallerConnection) -> bool {
    match (&listener.users, connection.peer) {
        (Some(users), Peer::User(uid)) => uid.is_some_and(|uid| users.contains(&uid)),
        _ => true,
    }
}
