//! What was refused to the command, told to the person behind it: the program itself may say `403`, or nothing.

use std::future::Future;

use tokio::sync::mpsc::Receiver;

use crate::cli::output::{Failure, talk};
use crate::proxy::{Refusal, Refused};

/// Tells of refusals for as long as the command runs, and of those that came at its end.
pub(super) async fn while_running<T>(
    heard: &mut Receiver<Refusal>,
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut command = std::pin::pin!(command);
    loop {
        let refusal = tokio::select! {
            ended = &mut command => return ended,
            Some(refusal) = heard.recv() => refusal,
        };
        // The command goes on whether it can be told or not.
        let _told = tell(&refusal);
    }
}

/// Tells of what is left.
pub(super) fn rest(heard: &mut Receiver<Refusal>) {
    while let Ok(refusal) = heard.try_recv() {
        let _told = tell(&refusal);
    }
}

fn tell(Refusal { what, sentence }: &Refusal) -> Result<(), Failure> {
    match what {
        Refused::Unmatched(host) => talk(format_args!(
            "attache: {host} is refused (403): no upstream covers it; to let other hosts pass, run exec with \
             --unmatched pass, or set [forward] unmatched = \"pass\""
        )),
        // These sentences name their keys.
        Refused::Port(_) | Refused::Address(_) | Refused::Rules(_) => {
            talk(format_args!("attache: refused (403): {sentence}"))
        }
    }
}
