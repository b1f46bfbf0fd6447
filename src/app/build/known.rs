//! What is live already, to be looked up: thousands of credentials and upstreams ask for theirs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::app::build::provider::TokenProvider;
use crate::app::build::state::Built;
use crate::credential::Credential;
use crate::oauth::Identity;
use crate::route::Route;

/// Credentials by their names.
pub(crate) type Credentials<'a> = HashMap<&'a str, &'a Arc<Credential>>;

/// What an earlier build has left; empty before the first.
#[derive(Default)]
pub(crate) struct Known<'a> {
    by_identity: HashMap<Identity, Vec<&'a TokenProvider>>,
    providers: HashMap<&'a str, &'a TokenProvider>,
    credentials: Credentials<'a>,
    routes: HashMap<&'a str, &'a Arc<Route>>,
}

impl<'a> Known<'a> {
    pub(crate) fn of(before: Option<&'a Built>) -> Self {
        let Some(built) = before else { return Self::default() };
        let mut by_identity: HashMap<Identity, Vec<_>> = HashMap::new();
        for provider in &built.providers {
            if let Some(identity) = provider.identity() {
                by_identity.entry(identity).or_default().push(provider);
            }
        }
        let names = built.runtime.credentials.iter().map(|credential| credential.name.as_str());
        let providers = names.zip(&built.providers).collect();
        let credentials = by_name(&built.runtime.credentials);
        let routes = built.runtime.routes.iter().map(|route| (route.name(), route)).collect();
        Self { by_identity, providers, credentials, routes }
    }

    /// Those whose token requests are this one.
    pub(crate) fn asking_as(&self, identity: Identity) -> impl Iterator<Item = &'a TokenProvider> {
        self.by_identity.get(&identity).into_iter().flatten().copied()
    }

    /// What is behind the credential of this name.
    pub(crate) fn provider(&self, name: &str) -> Option<&'a TokenProvider> {
        self.providers.get(name).copied()
    }

    pub(crate) fn credential(&self, name: &str) -> Option<&'a Arc<Credential>> {
        self.credentials.get(name).copied()
    }

    pub(crate) fn route(&self, upstream: &str) -> Option<&'a Arc<Route>> {
        self.routes.get(upstream).copied()
    }
}

pub(crate) fn by_name(credentials: &[Arc<Credential>]) -> Credentials<'_> {
    credentials.iter().map(|credential| (credential.name.as_str(), credential)).collect()
}
