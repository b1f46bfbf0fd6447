//! `[cache]`: what a fleet of replicas shares. Where it is, is read in `servers`.

mod servers;

use std::time::Duration;

use crate::config::syntax::error::ProblemKind;
use crate::config::syntax::hosts::with_host;
use crate::config::syntax::reader::{TableReader, set};
use crate::config::syntax::value::Value;
use crate::config::tables::client_identity::client_identity;
use crate::config::tables::secrets::{held, secrets};
use crate::dial::Host;
use crate::fleet::{CacheKey, FleetSettings};
use crate::secret::{SecretSource, Secrets};
use crate::store::{SentinelSettings, StoreSettings, StoreTlsSettings};

use servers::Servers;

/// Of one question. Below, a network cannot answer; above, callers would notice.
const TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(5);

const MAKE_KEY: &str =
    "make one: openssl rand -base64 32 (base64 or 64 hex digits of 32 bytes, or a text of 32 characters or more)";

const PASSWORD: &str = "write password = { file = \"path\" } or { env = \"NAME\" }";

/// Reads `[cache]`.
pub(crate) fn cache(mut table: TableReader<'_>) -> Option<FleetSettings> {
    let shared = table.required(
        "shared",
        "write shared = \"rediss://HOST\": the Redis or Valkey server that all replicas reach, without TLS redis://HOST",
    );
    let shared_at = shared.as_ref().map(|value| value.at);
    let key = table.required(
        "key",
        "make one: openssl rand -base64 32; then name where it is: key = { file = \"path\" } or { env = \"NAME\" }",
    );
    let keys = key.and_then(|value| keys(&value));
    let password = table.get("password");
    let has_sentinel = table.has("sentinel");
    let sentinel = table.table("sentinel").and_then(sentinel);
    let servers = shared.and_then(|value| servers::servers(value, has_sentinel));
    let password = password_of(&mut table, password.as_ref(), servers.as_ref());
    let tls = table.get("tls").and_then(|value| tls(&value, servers.as_ref()));
    let prefix = table.get("prefix").and_then(|value| prefix(&value));
    let timeout = table.get("timeout").and_then(|value| timeout(&value));
    let push = table.get("push").and_then(|value| value.boolean());
    let secret = password.is_some() || sentinel.as_ref().is_some_and(|sentinel| sentinel.password.is_some());
    if let (true, Some(at), Some(true)) = (secret, shared_at, servers.as_ref().map(Servers::in_clear_elsewhere)) {
        table.file.warning(
            at,
            "`cache.shared`: the password goes to another machine in clear; tokens do not, they are sealed",
            "write rediss:// if the server speaks TLS",
        );
    }
    table.finish();

    let Servers { addresses, with_tls, database, username, .. } = servers?;
    let store = StoreSettings {
        servers: addresses,
        with_tls,
        database,
        username,
        password,
        sentinel,
        tls: tls.unwrap_or_default(),
        timeout: timeout.unwrap_or(StoreSettings::TIMEOUT),
    };
    let mut settings = FleetSettings::new(store, keys?);
    set(&mut settings.prefix, prefix);
    set(&mut settings.push, push);
    Some(settings)
}

/// Each is looked at: one that is never used to seal still has to open.
fn keys(value: &Value<'_>) -> Option<Secrets> {
    let keys = secrets(value)?;
    let entries = if value.node.is_array() { value.list()? } else { Vec::new() };
    let places = if entries.is_empty() { vec![value] } else { entries.iter().collect() };
    let mut right = true;
    for (place, source) in places.into_iter().zip(keys.sources()) {
        if let Some(fault) = held(place, source).and_then(|text| CacheKey::from_text(&text).err()) {
            place.wrong::<()>(fault, MAKE_KEY);
            right = false;
        }
    }
    right.then_some(keys)
}

/// The password, from its key or out of the URL.
fn password_of(table: &mut TableReader<'_>, value: Option<&Value<'_>>, servers: Option<&Servers>) -> Option<Secrets> {
    let in_url = servers.and_then(|servers| servers.password.clone());
    let has_user = servers.is_some_and(|servers| servers.username.is_some());
    let Some(value) = value else {
        if has_user && in_url.is_none() {
            table.missing("password", format!("{PASSWORD}: that of the user in `shared`"));
        }
        return in_url.map(|password| Secrets::one(SecretSource::Literal(password)));
    };
    if in_url.is_some() {
        value.wrong::<()>("stands beside another password in `shared`", "take the one in the URL out");
    }
    secrets(value)
}

/// `[cache.sentinel]`.
fn sentinel(mut table: TableReader<'_>) -> Option<SentinelSettings> {
    let master = table
        .required("master", "write master = \"NAME\": the name that the sentinels know the primary by")
        .and_then(|value| value.text().map(str::to_owned));
    let username = table.get("username").and_then(|value| value.text().map(str::to_owned));
    let password = table.get("password");
    if username.is_some() && password.is_none() {
        table.missing("password", format!("{PASSWORD}: that of `username` at the sentinels"));
    }
    let password = password.and_then(|value| secrets(&value));
    table.finish();
    Some(SentinelSettings { master: master?, username, password })
}

/// `[cache.tls]`.
fn tls(value: &Value<'_>, servers: Option<&Servers>) -> Option<StoreTlsSettings> {
    let mut table = TableReader::from_value(value)?;
    let ca_file = table.get("ca_file").and_then(|value| value.certificates());
    let name = |value: Value<'_>| {
        with_host(&value, Host::parse, "write the host name in the server's certificate, without a port")
    };
    let server_name = table.get("server_name").and_then(name).map(|host| host.bare().to_owned());
    let identity = client_identity(&mut table);
    table.finish();
    if servers.is_some_and(|servers| !servers.with_tls) {
        let remedy = "write rediss:// (or valkeys://) in `shared`, or remove it";
        return value.wrong_as(ProblemKind::Unused, "is not used: the scheme of `shared` is one without TLS", remedy);
    }
    Some(StoreTlsSettings { ca_file, identity, server_name })
}

/// A part of the names of keys: nothing that has a meaning there.
fn prefix(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if text.len() <= 64 && text.bytes().all(usual) {
        return Some(text.to_owned());
    }
    value.wrong(
        "cannot be a part of the names in the cache",
        "write 1 to 64 letters (a to z), digits, \"_\", \".\" or \"-\"",
    )
}

fn timeout(value: &Value<'_>) -> Option<Duration> {
    let timeout = value.duration_or_zero()?;
    if TIMEOUT.contains(&timeout) {
        return Some(timeout);
    }
    value.wrong("is out of range", "write a time from \"10ms\" to \"5s\"")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
