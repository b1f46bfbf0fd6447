//! That for which a changed file waits as a whole: it says where or how secrets and tokens are sent, and who can write a file is
//! not always who may decide that.

use std::collections::{BTreeSet, HashMap};

use crate::config::{Config, UpstreamConfig};
use crate::dial::ParentProxySettings;
use crate::oauth::ClientAuth;
use crate::proxy::{ListenerMode, TokenClient};
use crate::secret::{SecretSource, Secrets};

/// One line for each reason; empty for what is taken. What a secret's file holds is no part of it: settings name the place.
pub(crate) fn waiting(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    credentials(&mut lines, old, new);
    upstreams(&mut lines, old, new);
    if new.forward.via.as_ref().map(way) != old.forward.via.as_ref().map(way) && new.forward.via.is_some() {
        lines.push("[forward] has another `via`".to_owned());
    }
    if old.cache != new.cache {
        lines.push("[cache] is different".to_owned());
    }
    programs(&mut lines, old, new);
    variables(&mut lines, old, new);
    lines
}

fn credentials(lines: &mut Vec<String>, old: &Config, new: &Config) {
    let known = old.credentials_by_name();
    for credential in &new.credentials {
        match known.get(credential.name.as_str()) {
            None => lines.push(format!("credential {:?} is new", credential.name)),
            Some(known) if *known != credential => lines.push(format!("credential {:?} is different", credential.name)),
            Some(_) => {}
        }
    }
}

fn upstreams(lines: &mut Vec<String>, old: &Config, new: &Config) {
    let fixed = |upstream: &UpstreamConfig| {
        let named = upstream.credential.as_ref();
        new.credentials.iter().any(|one| Some(&one.name) == named && one.oauth().is_none())
    };
    let known: HashMap<&str, &UpstreamConfig> =
        old.upstreams.iter().map(|upstream| (upstream.connection.name.as_str(), upstream)).collect();
    for upstream in &new.upstreams {
        let (name, via) = (&upstream.connection.name, &upstream.connection.via);
        let Some(known) = known.get(name.as_str()) else {
            if fixed(upstream) {
                lines.push(format!("upstream {name:?} is new, and its credential is a secret itself"));
            }
            // That of [forward] is known, and has the same login already.
            if via.is_some() && via.as_ref().map(way) != old.forward.via.as_ref().map(way) {
                lines.push(format!("upstream {name:?} is new, and has a `via` of its own"));
            }
            continue;
        };
        lines.extend(redirected(known, upstream).map(|key| format!("upstream {name:?} has another `{key}`")));
    }
}

/// The keys by which an upstream's requests go elsewhere, or with something else.
fn redirected(old: &UpstreamConfig, new: &UpstreamConfig) -> impl Iterator<Item = &'static str> {
    let (was, is) = (&old.connection, &new.connection);
    let keys = [
        ("origin", was.origin != is.origin),
        ("connect", was.connect != is.connect),
        ("via", was.via != is.via),
        ("tls", was.tls != is.tls),
        ("credential", old.credential != new.credential),
    ];
    keys.into_iter().filter_map(|(key, differs)| differs.then_some(key))
}

/// Where a parent proxy is, and what it is told; what is reached without it gets nothing of attache's.
fn way(via: &ParentProxySettings) -> ParentProxySettings {
    ParentProxySettings { except: Vec::new(), ..via.clone() }
}

/// A program that a secret names runs as attache's own user, and so has every secret that this user may read.
fn programs(lines: &mut Vec<String>, old: &Config, new: &Config) {
    let known = named_programs(old);
    for (place, source) in named_programs(new) {
        if !known.iter().any(|(earlier, known)| *earlier == place && *known == source) {
            lines.push(format!("`{place}` names another program"));
        }
    }
}

/// The programs that secrets outside of `[credentials]` and `[cache]` name: these tables wait for any difference.
fn named_programs(config: &Config) -> Vec<(String, &SecretSource)> {
    let mut found: Vec<(String, &SecretSource)> = Vec::new();
    for listener in &config.listeners {
        for caller in listener.callers.iter().flatten() {
            let sources = caller.password.iter().flat_map(Secrets::sources);
            found.extend(sources.map(|source| (format!("callers.{}.password", caller.name), source)));
        }
        if let ListenerMode::Token { clients } = &listener.mode {
            let of_callers = clients.iter().filter(|client| !is_of_a_credential(config, client));
            found.extend(of_callers.flat_map(|client| {
                client.secret.sources().iter().map(|source| (format!("callers.{}.password", client.client_id), source))
            }));
        }
        if let Some(tls) = &listener.tls {
            found.push((format!("listeners.{}.tls.certificate", listener.name), &tls.identity.certificate));
            found.push((format!("listeners.{}.tls.key", listener.name), &tls.identity.key));
        }
    }
    for upstream in &config.upstreams {
        if let Some(identity) = upstream.connection.tls.identity.as_ref() {
            let key = |key: &str| format!("upstreams.{}.tls.{key}", upstream.connection.name);
            found.push((key("client_certificate"), &identity.certificate));
            found.push((key("client_key"), &identity.key));
        }
    }
    if let Some(authority) = &config.intercept {
        found.push(("intercept.ca_certificate".to_owned(), &authority.certificate));
        found.push(("intercept.ca_key".to_owned(), &authority.key));
    }
    if let Some(token) = config.admin.as_ref().and_then(|admin| admin.token.as_ref()) {
        found.push(("admin.token".to_owned(), token));
    }
    found.retain(|(_, source)| source.is_command());
    found
}

/// A token listener without `callers` knows the clients of `[credentials]` by their own secrets.
fn is_of_a_credential(config: &Config, client: &TokenClient) -> bool {
    let auths = config.credentials.iter().filter_map(|credential| Some(&credential.oauth()?.client_auth));
    auths.into_iter().any(|auth| match auth {
        ClientAuth::Basic { secrets, .. } | ClientAuth::Post(secrets) | ClientAuth::SecretJwt(secrets) => {
            *secrets == client.secret
        }
        _ => false,
    })
}

/// A name of a host, a path, whatever is no secret, is shown and sent in clear. A variable that stood in none of these until now
/// may be a secret.
fn variables(lines: &mut Vec<String>, old: &Config, new: &Config) {
    let (known, read) = (&old.variables_read, &new.variables_read);
    let plain = read.plain.difference(&known.plain);
    // What is a program's argument may be a secret, and stays one.
    let arguments =
        read.arguments.iter().filter(|name| !known.plain.contains(*name) && !known.arguments.contains(*name));
    let names: BTreeSet<&String> = plain.chain(arguments).collect();
    lines.extend(names.into_iter().map(|name| format!("the variable {name} is read by a key that is no secret")));
}

#[cfg(test)]
#[path = "decided_tests.rs"]
mod decided_tests;
#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
