//! Who may use which listener, and who may have which tokens of a token listener.

use std::collections::HashSet;

use crate::caller::CallerSettings;
use crate::config::checks::tables::{Reached, Tables};
use crate::config::syntax::file::File;
use crate::config::syntax::value::Spanned;
use crate::config::syntax::words::listed;
use crate::config::tables::callers::Caller;
use crate::config::tables::listeners::{Listener, Mode};
use crate::config::tables::upstreams::Upstream;
use crate::oauth::{ClientAuth, OAuthSettings};
use crate::proxy::TokenClient;
use crate::route::CallerAuthorization;

/// Whom a token listener knows: the callers that it lists or, where it lists none, every credential's own client.
pub(crate) fn clients(listener: &Listener, tables: &Tables<'_>) -> Vec<TokenClient> {
    let Some(names) = &listener.callers else { return own_clients(tables) };
    let listed = names.iter().filter_map(|name| tables.callers.named(&name.value));
    listed
        .filter_map(|caller| {
            Some(TokenClient {
                client_id: caller.name.clone(),
                secret: caller.password.clone()?,
                credential: caller.credential.as_ref().map_or_else(|| caller.name.clone(), |named| named.value.clone()),
            })
        })
        .collect()
}

/// The callers of a listener that is no token endpoint; `None` where it asks nobody.
pub(crate) fn of_listener(listener: &Listener, tables: &Tables<'_>) -> Option<Vec<CallerSettings>> {
    let names = listener.callers.as_ref().filter(|_| listener.mode != Some(Mode::Token))?;
    let listed = names.iter().filter_map(|name| tables.callers.named(&name.value));
    let settings = |caller: &Caller| CallerSettings {
        name: caller.name.clone(),
        password: caller.password.clone(),
        certificate: caller.certificate.clone(),
    };
    Some(listed.map(settings).collect())
}

/// The names of the credentials whose tokens token listeners give.
pub(crate) fn served_by_token_listeners(tables: &Tables<'_>) -> impl Iterator<Item = String> {
    let listeners = tables.listeners.iter().filter(|listener| listener.mode == Some(Mode::Token));
    listeners.flat_map(|listener| clients(listener, tables)).map(|client| client.credential)
}

/// A program that has been an OAuth client goes on being one: with the id and the secret that attache has too. The name of
/// the credential will do for the id.
fn own_clients(tables: &Tables<'_>) -> Vec<TokenClient> {
    let (mut clients, mut known) = (Vec::new(), HashSet::new());
    for credential in tables.credentials.iter() {
        let Some(oauth) = credential.value.oauth().filter(|oauth| gives_tokens(oauth)) else { continue };
        let (ClientAuth::Basic { secrets, .. } | ClientAuth::Post(secrets) | ClientAuth::SecretJwt(secrets)) =
            &oauth.client_auth
        else {
            continue;
        };
        for id in [&credential.value.name, &oauth.client_id] {
            // Of two credentials with one client id, the first stands for it; each has its name.
            if known.insert(id) {
                let (secret, credential) = (secrets.clone(), credential.value.name.clone());
                clients.push(TokenClient { client_id: id.clone(), secret, credential });
            }
        }
    }
    clients
}

/// A bound token is worth nothing without its key, and an exchanged one belongs to a caller's own.
fn gives_tokens(oauth: &OAuthSettings) -> bool {
    oauth.dpop.is_none() && !oauth.grant.is_of_callers()
}

/// Reports token listeners that know nobody, and names that lead nowhere.
pub(crate) fn check(file: &File<'_>, tables: &Tables<'_>, reached: &[Reached<'_>]) {
    warn_of_unused(file, tables);
    for listener in &tables.listeners {
        exist(file, tables, listener.callers.iter().flatten());
        if listener.callers.as_ref().is_some_and(Vec::is_empty) {
            let what = format!("`listeners.{}.callers` is empty, so nobody could use it", listener.name);
            file.problem(listener.at, what, "name at least one, or remove it");
        }
    }
    for upstream in tables.upstreams.iter() {
        exist(file, tables, upstream.callers.iter().flatten());
    }
    for Reached { listener, upstreams } in reached.iter().filter(|reached| reached.listener.mode != Some(Mode::Token)) {
        for upstream in upstreams {
            check_reached(file, listener, upstream);
        }
    }
    for listener in tables.listeners.iter().filter(|listener| listener.mode == Some(Mode::Token)) {
        if listener.callers.is_none() && own_clients(tables).is_empty() {
            let what = format!("`listeners.{}` would give its tokens to nobody", listener.name);
            file.problem(listener.at, what, "add callers = [\"NAME\"], and [callers.NAME] with a password");
        }
        for client in clients(listener, tables) {
            check_client(file, tables, &client);
        }
    }
}

fn exist<'n>(file: &File<'_>, tables: &Tables<'_>, names: impl Iterator<Item = &'n Spanned<String>>) {
    for name in names.filter(|name| !tables.caller_names.has(&name.value)) {
        let remedy = match &*tables.caller_names {
            [] if file.written.has(name.at) => {
                "add a table [callers.NAME] with password = { env = \"NAME\" }".to_owned()
            }
            [] => format!("add a table [callers.{}] with password = {{ env = \"NAME\" }}", name.value),
            known => format!("the callers in this file are {}", listed(known)),
        };
        let shown = file.written.shown(name.at, &name.value);
        file.problem(name.at, format!("there is no caller \"{shown}\""), remedy);
    }
}

/// A list of callers is worth nothing where nobody is asked who it is; and a field that proves the caller cannot be passed on.
fn check_reached(file: &File<'_>, listener: &Listener, upstream: &Upstream) {
    if upstream.callers.is_some() && listener.callers.is_none() {
        let what = format!(
            "`upstreams.{}` is for certain callers, and `listeners.{}` asks nobody who it is",
            upstream.name(),
            listener.name
        );
        let remedy = "add callers = [\"NAME\"] to the listener, or list `upstreams` there without this one";
        file.problem(upstream.at, what, remedy);
    }
    let keeps = upstream.config.route.caller_authorization == CallerAuthorization::Keep;
    if keeps && listener.mode == Some(Mode::Reverse) && listener.callers.is_some() {
        let what = format!(
            "`upstreams.{}.caller_authorization` = \"keep\" cannot be kept on `listeners.{}`, where Authorization is the proof of its callers",
            upstream.name(),
            listener.name
        );
        file.problem(upstream.at, what, "remove it, or use a listener without callers");
    }
}

/// A password that nobody is asked for gives a feeling of safety and nothing else.
fn warn_of_unused(file: &File<'_>, tables: &Tables<'_>) {
    let asked = tables.listeners.iter().flat_map(|listener| listener.callers.iter().flatten());
    let asked: HashSet<&str> = asked.map(|name| name.value.as_str()).collect();
    for caller in tables.callers.iter() {
        if !asked.contains(caller.name.as_str()) {
            let what = format!("no listener asks for the caller \"{}\"", caller.name);
            file.warning(caller.at, what, "name it in `callers` of a listener");
        }
    }
}

fn check_client(file: &File<'_>, tables: &Tables<'_>, client: &TokenClient) {
    let caller = tables.callers.named(&client.client_id);
    let at = caller.map_or(0, |caller| caller.credential.as_ref().map_or(caller.at, |named| named.at));
    let name = &client.credential;
    let shown = file.written.shown(at, name);
    if !tables.credential_names.has(name) {
        let known = listed(&tables.credential_names);
        let remedy =
            format!("write credential = \"NAME\" in [callers.{}]; the credentials are {known}", client.client_id);
        file.problem(at, format!("there is no credential \"{shown}\" for the caller \"{}\"", client.client_id), remedy);
        return;
    }
    let credential = tables.credentials.named(name);
    if credential.is_some_and(|credential| !credential.value.oauth().is_some_and(gives_tokens)) {
        let what = format!("the credential \"{shown}\" has no token that could be given away");
        file.problem(at, what, "name a credential that asks for tokens of its own, without dpop and token_exchange");
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{config, problems};
    use crate::proxy::{ListenerMode, TokenClient};

    const CREDENTIAL: &str = "[credentials.orders]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"orders-batch\"\nclient_secret = { env = \"SECRET\" }\n";

    fn text(listener: &str, rest: &str) -> String {
        format!("[listeners.tokens]\naddress = \"127.0.0.1:0\"\nmode = \"token\"\n{listener}\n{CREDENTIAL}{rest}")
    }

    fn clients(listener: &str, rest: &str) -> Vec<TokenClient> {
        match config(&text(listener, rest)).listeners.remove(0).mode {
            ListenerMode::Token { clients } => clients,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_callers_every_credentials_own_client_is_known() {
        let known = clients("", "");
        let ids: Vec<_> = known.iter().map(|client| (client.client_id.as_str(), client.credential.as_str())).collect();
        assert_eq!(ids, [("orders", "orders"), ("orders-batch", "orders")]);
    }

    #[test]
    fn listed_callers_are_the_only_ones() {
        let callers = "[callers.legacy]\npassword = { env = \"SECRET\" }\ncredential = \"orders\"\n[callers.orders]\npassword = { env = \"SECRET\" }\n";
        let known = clients("callers = [\"legacy\", \"orders\"]", callers);
        let ids: Vec<_> = known.iter().map(|client| (client.client_id.as_str(), client.credential.as_str())).collect();
        assert_eq!(ids, [("legacy", "orders"), ("orders", "orders")]);
    }

    #[test]
    fn names_that_lead_nowhere_are_problems() {
        let found = problems(&text("callers = [\"x\"]", ""));
        assert!(
            found.len() == 1 && found[0].contains("there is no caller \"x\"; add a table [callers.x]"),
            "{found:#?}"
        );
        let found = problems(&text("callers = [\"x\"]", "[callers.x]\npassword = { env = \"SECRET\" }\n"));
        assert!(found[0].contains("there is no credential \"x\" for the caller \"x\"; write credential"), "{found:#?}");
        let found = problems(&text("callers = [\"x\"]", "[callers.x]\ncredential = \"orders\"\n"));
        assert!(found[0].contains("`callers.x.password` is missing"), "{found:#?}");
        let bound = text("", "").replace("client_id", "dpop = true\nclient_id");
        assert!(problems(&bound)[0].contains("would give its tokens to nobody"), "{:?}", problems(&bound));
    }

    #[test]
    fn a_token_listener_has_no_upstreams() {
        let found = problems(&text("upstream = \"a\"\nhosts = \"any\"", ""));
        assert_eq!(found.len(), 2, "{found:#?}");
    }
}
