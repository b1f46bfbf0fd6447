//! A server that returns one token until it ends.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::token::testing::{Engine, Step};

/// A caller every 100 ms: how long the longest of them waited.
async fn hammer(engine: &Engine, seconds: u64) -> Duration {
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < Duration::from_secs(seconds) {
        let asked = Instant::now();
        engine.obtain().await.unwrap();
        longest = longest.max(asked.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
    longest
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_token_that_is_handed_out_again_is_waited_for() {
    for life in [20, 90, 600] {
        let engine = Engine::new(move |_| Step::Same(life));
        let longest = hammer(&engine, life * 5).await;
        // Each life: its first request, one ahead of time, one or two at its end.
        assert!((10..=20).contains(&engine.asked()), "{life}: {} token requests", engine.asked());
        assert!(longest <= Duration::from_secs(4), "{life}: a caller waited {longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_said_end_is_asked_for_as_usual_though_it_is_the_same() {
    let engine = Engine::new(|_| Step::OnlyOne);
    engine.obtain().await.unwrap();
    for round in 2..6 {
        engine.obtain().await.unwrap();
        sleep(Duration::from_secs(245)).await;
        assert_eq!(engine.asked(), round, "each time its life by default is nearly over");
    }
}
