//! The task that makes connections: dials, lets serve, and dials again.

use std::sync::Arc;
use std::time::Duration;

use super::back_off::BackOff;
use super::connect::{Dialler, Probe, Session};
use super::fault::Loss;
use super::line::Shared;
use super::settings::StoreSettings;
use crate::sync::lock;

/// Runs until it is stopped by its owner.
pub(super) async fn supervise(shared: Arc<Shared>, settings: StoreSettings, probe: Probe) {
    let mut dialler = Dialler::new(settings, probe, shared.messages.clone());
    let mut back_off = BackOff::default();
    let mut given_up = None;
    loop {
        let delay = match dialler.dial().await {
            Ok(session) => {
                if let Some(loss) = given_up.take() {
                    shared.metrics.reconnected(Loss::cause(&loss));
                }
                let (loss, served) = serve(&shared, session).await;
                let delay = back_off.lost(&loss, served);
                dialler.heed(&loss);
                if delay.is_zero() {
                    lock(&shared.condition).moves(loss.cause());
                } else {
                    lock(&shared.condition).away(loss.cause(), loss.sentence(), delay);
                }
                given_up = Some(loss);
                delay
            }
            Err(failure) => {
                let delay = back_off.failed();
                let mut condition = lock(&shared.condition);
                condition.unreachable(&failure.to_string(), failure.remedy(), delay);
                condition.misconfigured = failure.is_misconfigured();
                delay
            }
        };
        tokio::time::sleep(delay).await;
    }
}

/// Has questions go over a new connection until it ends. Says why, and for how long it served.
async fn serve(shared: &Shared, session: Session) -> (Loss, Duration) {
    let Session { connection, mut driver, allowance, about } = session;
    lock(&shared.condition).connected(about);
    let line = shared.open(connection, allowance);
    let loss = tokio::select! {
        loss = line.lost() => loss,
        loss = line.demoted() => loss,
        () = driver.ended() => Loss::Closed,
    };
    shared.give_up(&line, loss.clone());
    (loss, line.made_at.elapsed())
}
