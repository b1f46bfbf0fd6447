//! From one configuration to the next while requests are served.
//!
//! The new one is read, checked and made live next to the old one; only then is anything replaced. Whatever goes wrong on
//! the way leaves everything as it was. What did not change is taken over with its tokens, pools and sockets, and requests in
//! flight finish with the snapshot that they began with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::admin::{Reload, ReloadCause, ReloadRequest, Reloads, TAKE_IT};
use crate::app::build;
use crate::app::build::state::Built;
use crate::app::error::StartFailure;
use crate::app::live::{Live, State};
use crate::app::sockets::{ADMIN, Sockets, listening_at, tcp_addresses};
use crate::app::sources::BuildError;
use crate::app::watch::changes::changes;
use crate::app::watch::reading::Readers;
use crate::app::watch::waiting::waiting;
use crate::app::workers::Workers;
use crate::config::{Config, ConfigErrors, ConfigFile, Problem};
use crate::listen::Listening;
use crate::telemetry::{self, RequestMetrics};

/// How often the file is looked at. Its content is what counts: editors and Kubernetes replace files and folders in ways that
/// no watch on a path sees, and reading one small file costs next to nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// How long reading and checking all of it may take; each secret's file has 5 s of its own.
const LOAD_LIMIT: Duration = Duration::from_secs(15);

/// Carries reloads out, one after the other; lives on the control runtime.
pub(crate) struct Reloader {
    pub(crate) live: Arc<Live>,
    pub(crate) sockets: Sockets,
    pub(crate) workers: Workers,
    pub(crate) listening: Listening,
    pub(crate) reloads: Arc<Reloads>,
    pub(crate) metrics: RequestMetrics,
}

impl Reloader {
    /// Reloads whenever it is asked to, and when the file has changed.
    pub(crate) async fn serve(mut self, mut requests: mpsc::Receiver<ReloadRequest>) {
        let mut look = tokio::time::interval(POLL_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut file = FileWatch::of(&self.live.current().config);
        let readers = Readers::default();
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(ReloadRequest { cause, answer }) = request else { return };
                    // Before it is read: what is written from here on is looked at again.
                    file.deal_with_what_is_there(&self.live.current().config, &readers).await;
                    let reload = self.reload(cause, &readers).await;
                    // The one that asked may have gone.
                    let _unheard = answer.send(reload);
                }
                _ = look.tick() => {
                    if file.has_changed(&self.live.current().config, &readers).await {
                        self.reload(ReloadCause::File, &readers).await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self, cause: ReloadCause, readers: &Readers) -> Reload {
        let reload = match self.replace(cause, readers).await {
            Ok(changes) => {
                telemetry::log::restore();
                tracing::info!(target: "attache::app", ?cause, "configuration reloaded: {}", summary(&changes));
                Reload::done(cause, changes)
            }
            Err(NotReplaced::Waits(because)) => {
                let waits = format!("{}; {TAKE_IT}", because.join(", "));
                tracing::warn!(target: "attache::app", ?cause, "the changed configuration waits, the old one stays: {waits}");
                let reload = Reload::refused(cause, vec![waits]);
                self.reloads.remember(reload.clone());
                self.reloads.wait(because);
                self.metrics.reloads.waits(true);
                return reload;
            }
            Err(NotReplaced::Wrong(problems)) => {
                for Trouble { message, file, at } in &problems {
                    let (line, column) = at.unzip();
                    tracing::error!(target: "attache::app", ?cause, file, line, column, "the configuration is not reloaded, the old one stays: {message}");
                }
                Reload::refused(cause, problems.into_iter().map(|trouble| trouble.message).collect())
            }
        };
        self.metrics.reloads.reloaded(reload.ok);
        self.reloads.remember(reload.clone());
        self.reloads.wait(Vec::new());
        self.metrics.reloads.waits(false);
        reload
    }

    /// What changed, or why nothing did.
    async fn replace(&mut self, cause: ReloadCause, readers: &Readers) -> Result<Vec<String>, NotReplaced> {
        let file = self.live.current().config.file.clone();
        let ConfigFile { path, .. } =
            file.ok_or_else(|| Trouble::one("this attache was started without a configuration file"))?;
        loop {
            let before = self.live.current();
            let config = Arc::new(load(&path, &before, readers).await?);
            if cause == ReloadCause::File {
                let because = waiting(&before.config, &config);
                if !because.is_empty() {
                    return Err(NotReplaced::Waits(because));
                }
            }
            let plan = self.sockets.plan(&config.listeners, self.workers.count());
            let plan = plan.map_err(|error| Trouble::one(message_of(&error)))?;
            let built = build(&self.live, &config, plan.slots.clone(), &before).await?;
            let changes = changes(&before.config, &config);
            let (slots, runtime) = (plan.slots.clone(), Arc::clone(&built.runtime));
            if !self.live.replace(&before, Arc::clone(&config), built) {
                // A secret was rotated meanwhile: again, next to what is live now.
                continue;
            }
            self.sockets.carry_out(plan, &self.workers).await;
            let admin = self.listening.all().into_iter().find(|listener| listener.name == ADMIN);
            let listening = listening_at(&config, self.sockets.addresses(&slots), admin);
            self.live.context.own.replace(tcp_addresses(listening.iter().map(|listener| &listener.address)));
            self.listening.replace(listening);
            for credential in runtime.credentials.iter().filter(|credential| credential.required) {
                credential.prime();
            }
            return Ok(changes);
        }
    }
}

/// Files may be on a network that hangs, and certificates take a while: not on the control thread itself.
async fn load(path: &Path, before: &Arc<State>, readers: &Readers) -> Result<Config, Vec<Trouble>> {
    let (path, before) = (path.to_owned(), Arc::clone(before));
    let load = move || {
        // At the start it may have been a pipe of the shell's; who opens one that nobody writes into waits for ever.
        if std::fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let what =
                "the configuration file is no regular file, which could not be read a second time; start attache again";
            return Err(Trouble::one(what));
        }
        let config = Config::load(&path).map_err(|errors| Trouble::of(&errors))?;
        Ok(config.sharing(&before.config))
    };
    readers.read(LOAD_LIMIT, load).await.map_err(|unread| Trouble::one(unread.to_string()))?
}

/// Why the old configuration stays.
enum NotReplaced {
    /// It says where or how secrets are sent, one line each, and nobody but a changed file has asked for it.
    Waits(Vec<String>),
    Wrong(Vec<Trouble>),
}

impl From<Vec<Trouble>> for NotReplaced {
    fn from(problems: Vec<Trouble>) -> Self {
        Self::Wrong(problems)
    }
}

/// Why a configuration is not taken over, and where in its file, as far as that is to blame.
struct Trouble {
    message: String,
    file: Option<String>,
    at: Option<(usize, usize)>,
}

impl Trouble {
    fn one(message: impl Into<String>) -> Vec<Self> {
        vec![Self { message: message.into(), file: None, at: None }]
    }

    fn of(errors: &ConfigErrors) -> Vec<Self> {
        let lines = ConfigErrors::lines(&errors.source, &errors.problems);
        let trouble = |(message, problem): (String, &Problem)| {
            let file = problem.file.clone().unwrap_or_else(|| errors.source.clone());
            Self { message, file: Some(file), at: problem.at }
        };
        lines.zip(&errors.problems).map(trouble).collect()
    }
}

/// An address may be in use by this very process, under another form.
fn message_of(error: &StartFailure) -> String {
    match error {
        StartFailure::Bind { .. } => format!(
            "{error}; an address that overlaps with one of this attache (0.0.0.0 with 127.0.0.1) is free after a restart only"
        ),
        error => error.to_string(),
    }
}

fn summary(changes: &[String]) -> String {
    if changes.is_empty() { "nothing is different".to_owned() } else { changes.join(", ") }
}

async fn build(
    live: &Arc<Live>,
    config: &Arc<Config>,
    slots: Vec<usize>,
    before: &Arc<State>,
) -> Result<Built, Vec<Trouble>> {
    let (live, config, before) = (Arc::clone(live), Arc::clone(config), Arc::clone(before));
    let built =
        tokio::task::spawn_blocking(move || build::build(&live.context, &config, slots, Some(&before.built))).await;
    match built {
        Ok(built) => built.map_err(|error: BuildError| Trouble::one(error.to_string())),
        Err(broken) => Err(Trouble::one(format!("the configuration could not be made live: {broken}"))),
    }
}

/// What the file held when it was loaded or refused, and at the last look.
struct FileWatch {
    known: Option<[u8; 32]>,
    last: Option<[u8; 32]>,
}

impl FileWatch {
    fn of(config: &Config) -> Self {
        Self { known: config.file.as_ref().map(|file| file.digest), last: None }
    }

    /// What is there now is about to be loaded, or refused.
    async fn deal_with_what_is_there(&mut self, config: &Config, readers: &Readers) {
        self.known = digest(config, readers).await.or(self.known);
        self.last = None;
    }

    /// True if the file holds something new, and held it at the last look already: a file is not read while it is being written.
    /// One that is away for a moment has not changed.
    async fn has_changed(&mut self, config: &Config, readers: &Readers) -> bool {
        let Some(now) = digest(config, readers).await else { return false };
        let settled = self.last.replace(now) == Some(now);
        let changed = settled && self.known != Some(now);
        if changed {
            self.known = Some(now);
        }
        changed
    }
}

async fn digest(config: &Config, readers: &Readers) -> Option<[u8; 32]> {
    let path = config.file.as_ref()?.path.clone();
    readers.read(LOOK_LIMIT, move || ConfigFile::digest(&path)).await.ok()?
}
