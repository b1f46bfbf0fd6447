//! This process keeps secrets, in its environment and its memory, that other processes are not to read.

/// Keeps other processes of the same user from reading this one's environment and memory (`/proc/PID`, debuggers, core dumps). A
/// program that is started has its own say about itself. Where that fails it is said, and the rest goes on.
pub(super) fn hide() {
    #[cfg(target_os = "linux")]
    if let Err(error) = crate::exec::hide_from_others() {
        tracing::warn!(
            target: "attache", %error,
            "other processes of this user can read attache's environment and memory: its secrets and tokens"
        );
    }
}

/// A core dump would hold every secret and token. Without the right to refuse one, the system's setting stands.
#[cfg(unix)]
pub(super) fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _best_effort = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

#[cfg(not(unix))]
pub(super) const fn no_core_dumps() {}
