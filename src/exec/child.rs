//! One program, run as it would be without attache: terminal, stdin, stdout and stderr are the same, it hears the same signals, and
//! its exit code is attache's.
//!
//! It stays in attache's process group, so what the terminal sends (Ctrl-C, Ctrl-Z) reaches it directly. Signals that are
//! meant for attache alone are passed on. `PR_SET_PDEATHSIG`, which would end the program together with attache, has to
//! be set between fork and exec, and that takes unsafe code: after a SIGKILL of attache it goes on with a proxy that refuses
//! connections.

use std::ffi::OsStr;
use std::io;
use std::process::ExitStatus;

use tokio::process::Command;

use super::environment::Change;
use crate::descriptors;

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Child {
    child: tokio::process::Child,
    signals: signals::Signals,
}

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// There is none of that name.
    #[error("{program}: command not found")]
    NotFound { program: String },
    /// There is one, and it cannot be run.
    #[error("{program}: cannot be run: {reason}")]
    NotExecutable { program: String, reason: io::Error },
    /// The system's own trouble.
    #[error("signals cannot be listened to: {0}")]
    Signals(io::Error),
    /// It waited in a user namespace, and was not let on.
    #[cfg(target_os = "linux")]
    #[error("--isolate: the command's user namespace: {0}")]
    Gate(io::Error),
}

impl StartError {
    /// Why this program was not started.
    pub(super) fn of(program: &OsStr, reason: io::Error) -> Self {
        let program = program.to_string_lossy().into_owned();
        match reason.kind() {
            io::ErrorKind::NotFound => Self::NotFound { program },
            _ => Self::NotExecutable { program, reason },
        }
    }

    /// What a shell answers in this case (POSIX.1 section 2.8.2).
    #[must_use]
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Signals(_) => 1,
            #[cfg(target_os = "linux")]
            Self::Gate(_) => 1,
        }
    }
}

impl Child {
    /// Starts a program with these changes to this process's environment; later ones win.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be run.
    pub(crate) fn start<'c>(
        program: &OsStr,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        changes: impl IntoIterator<Item = &'c (String, Change)>,
    ) -> Result<Self, StartError> {
        // Before the program is there, so that no signal comes between and ends attache alone. The program has none of these
        // handlers: it begins with what was there before.
        let signals = signals::Signals::listen().map_err(StartError::Signals)?;
        let mut command = Command::new(program);
        command.args(arguments);
        for (name, change) in changes {
            match change {
                Change::Set(value) => command.env(name, value),
                Change::Unset => command.env_remove(name),
            };
        }
        let child = descriptors::as_at_the_beginning(|| command.spawn());
        let child = child.map_err(|reason| StartError::of(program, reason))?;
        Ok(Self { child, signals })
    }

    /// Its number among processes, until it has ended.
    #[cfg(target_os = "linux")]
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end, passing signals on, and gives its exit code: 128 and the signal's number if one ended it.
    ///
    /// # Errors
    /// When the system has lost the program.
    pub(crate) async fn wait(mut self) -> io::Result<u8> {
        loop {
            // Both sides may be dropped at any time without losing anything. The id is there until `wait` has returned, so
            // no signal goes to a stranger that has the same number.
            let signal = tokio::select! {
                ended = self.child.wait() => return ended.map(exit_code),
                signal = self.signals.next() => signal,
            };
            if let Some(id) = self.child.id() {
                signals::pass_on(signal, id);
            }
        }
    }
}

/// Whose programs a proxy beside one command is for: this user's, and root's, which may do everything anyway.
#[cfg(target_os = "linux")]
#[must_use]
pub(crate) fn users() -> Vec<u32> {
    vec![rustix::process::geteuid().as_raw(), 0]
}

/// Keeps other processes of the same user from reading this one's environment and memory (`/proc/PID/environ`, ptrace,
/// core dumps). A program that is started has its own say about itself.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub(crate) fn hide_from_others() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Into::into)
}

#[cfg(unix)]
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(not(unix))]
fn exit_code(status: ExitStatus) -> u8 {
    status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1))
}

#[cfg(unix)]
mod signals {
    use std::fs::File;
    use std::io;

    use futures_util::future::{FutureExt as _, select_all};
    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, getpid, kill_process, waitid};
    use rustix::termios::tcgetpgrp;
    use tokio::signal::unix::{SignalKind, signal};

    /// Which are heard. Not those that end or stop a process without asking, nor those of the machine's own faults.
    const HEARD: [Signal; 10] = [
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
        Signal::WINCH,
        Signal::CONT,
        Signal::TSTP,
        Signal::CHILD,
    ];

    /// What is sent to this process.
    #[derive(Debug)]
    pub(super) struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

    impl Signals {
        /// From here on nothing that is heard ends this process. What it was told to ignore when it began (`nohup`) stays
        /// ignored, for the program too.
        pub(super) fn listen() -> io::Result<Self> {
            let ignored = ignored();
            let is_heard = |signal: &Signal| *signal == Signal::CHILD || ignored & (1 << (signal.as_raw() - 1)) == 0;
            let heard = HEARD.into_iter().filter(is_heard);
            let heard = heard.map(|which| Ok((which, signal(SignalKind::from_raw(which.as_raw()))?)));
            heard.collect::<io::Result<_>>().map(Self)
        }
        pub(super) async fn next(&mut self) -> Signal {
            let next = self.0.iter_mut().map(|(which, heard)| heard.recv().map(|_| *which).boxed());
            select_all(next).await.0
        }
    }

    /// Hands a signal to the program, unless it has it already.
    pub(super) fn pass_on(signal: Signal, id: u32) {
        let Some(child) = i32::try_from(id).ok().and_then(Pid::from_raw) else { return };
        let outcome = match signal {
            Signal::CHILD => stop_together(child),
            // The terminal sends these to the whole process group; a second Ctrl-C means something else to many programs.
            Signal::INT | Signal::QUIT | Signal::TSTP | Signal::WINCH if in_foreground() => Ok(()),
            signal => kill_process(child, signal),
        };
        if let Err(error) = outcome {
            tracing::debug!(target: "attache::exec", %error, ?signal, "a signal was not passed on");
        }
    }

    /// If the program has stopped (Ctrl-Z), so does attache, or the shell would not know that its job has. Only where a
    /// person can wake both: elsewhere what stopped the program alone will wake it alone.
    fn stop_together(child: Pid) -> rustix::io::Result<()> {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let stopped = waitid(WaitId::Pid(child), options)?.is_some_and(|status| status.stopped());
        if stopped && in_foreground() { kill_process(getpid(), Signal::STOP) } else { Ok(()) }
    }

    /// True if what is typed at the terminal is meant for this process group.
    fn in_foreground() -> bool {
        let terminal = File::open("/dev/tty").ok();
        terminal.and_then(|terminal| tcgetpgrp(terminal).ok()) == Some(getpgrp())
    }

    /// The signals that this process ignores, one bit each from the lowest. Linux tells; elsewhere none are known.
    fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
    }
}

#[cfg(not(unix))]
mod signals {
    use std::io;

    #[derive(Debug)]
    pub(super) struct Signals;

    impl Signals {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Self)
        }

        /// The console's Ctrl-C reaches the program directly, and must not end attache before it.
        pub(super) async fn next(&mut self) {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn pass_on(_signal: (), _id: u32) {}
}
