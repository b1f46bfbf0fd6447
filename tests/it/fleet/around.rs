//! What a fleet stands between: an authorization server that counts, and an API that knows which tokens are good.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Asked, Reply, Scripted, TokenServer, real_time};

/// Both, and what they can be told to do.
pub struct Around {
    pub tokens: TokenServer,
    pub api: Scripted,
    script: Arc<Mutex<Script>>,
    oldest: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

/// How token requests are answered.
#[derive(Clone)]
pub struct Script {
    /// In seconds; of the tokens.
    pub life: u64,
    /// How long an answer takes.
    pub delay: Duration,
    /// Instead of a token: a status, and fields.
    pub failure: Option<(u16, &'static str)>,
}

impl Default for Script {
    fn default() -> Self {
        Self { life: 3600, delay: Duration::from_millis(50), failure: None }
    }
}

/// No token is as young as this.
const NONE: usize = usize::MAX;

impl Around {
    pub async fn start(script: Script) -> Self {
        let (script, oldest) = (Arc::new(Mutex::new(script)), Arc::new(AtomicUsize::new(0)));
        let of = Arc::clone(&script);
        let ends: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let ending = Arc::clone(&ends);
        let tokens = TokenServer::scripted(move |_, number| {
            let Script { life, delay, failure } = of.lock().unwrap().clone();
            let reply = match failure {
                Some((status, fields)) => Reply::new(status, fields, ""),
                None => Reply::ok(&TokenServer::granted(&format!("token-{}", number + 1), life)),
            };
            // Some answers are refusals, and each has its number. Two that come at once may be answered in the other order.
            let mut ends = ending.lock().unwrap();
            let known = ends.len().max(number + 1);
            ends.resize(known, Instant::now() + delay + Duration::from_secs(life));
            drop(ends);
            let Reply::Raw(bytes) = reply else { unreachable!() };
            Reply::After(Box::pin(real_time("the authorization server takes its time", delay)), bytes)
        })
        .await;
        let good_from = Arc::clone(&oldest);
        let refused: Arc<AtomicUsize> = Arc::default();
        let refuses = Arc::clone(&refused);
        let is_good = move |number: &usize| {
            let end = ends.lock().unwrap().get(number.wrapping_sub(1)).copied();
            *number >= good_from.load(Ordering::SeqCst) && end.is_some_and(|end| Instant::now() < end)
        };
        // Its answer is the number of the token it was asked with.
        let api = Scripted::start(move |asked, _| match number(asked).filter(&is_good) {
            Some(number) => Reply::ok(&number.to_string()),
            None => {
                refuses.fetch_add(1, Ordering::SeqCst);
                Reply::new(401, "www-authenticate: Bearer error=\"invalid_token\"\r\n", "")
            }
        })
        .await;
        Self { tokens, api, script, oldest, refused }
    }

    /// Until nobody asks any more: who was on its own looks for what the others have within a second or two. How many token requests
    /// there were.
    pub async fn quiet(&self) -> usize {
        loop {
            let before = self.tokens.requests();
            real_time("replicas look for newer tokens", Duration::from_millis(2500)).await;
            if self.tokens.requests() == before {
                return before;
            }
        }
    }

    /// From now on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// Every token that has been asked for so far is worth nothing.
    pub fn revoke_all(&self) {
        self.oldest.store(self.tokens.requests() + 1, Ordering::SeqCst);
    }

    /// How many requests came with a token that was revoked or had ended.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// No token is worth anything.
    pub fn refuse_everything(&self) {
        self.oldest.store(NONE, Ordering::SeqCst);
    }
}

/// That of its token.
fn number(asked: &Asked) -> Option<usize> {
    asked.field("authorization")?.strip_prefix("Bearer token-")?.parse().ok()
}
