use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;

/// A lookup that answers when it is told to.
#[derive(Default)]
struct Scripted {
    begun: Mutex<Vec<(String, Wanted, Land)>>,
}

impl Lookup for Scripted {
    fn begin(&self, name: &str, wanted: Wanted, land: Land) -> io::Result<()> {
        self.begun.lock().unwrap().push((name.to_owned(), wanted, land));
        Ok(())
    }
}

impl Scripted {
    fn names() -> (Arc<Self>, Names) {
        let scripted = Arc::new(Self::default());
        (Arc::clone(&scripted), Names::by(scripted))
    }

    fn count(&self) -> usize {
        self.begun.lock().unwrap().len()
    }

    /// The oldest lookup ends with this.
    fn answer(&self, answer: Result<&str, &str>) {
        let (_, wanted, land) = self.begun.lock().unwrap().remove(0);
        if wanted() {
            land(answer.map(|ip| vec![ip.parse().unwrap()]).map_err(io::Error::other));
        }
    }
}

async fn resolve(names: &Names, name: &str) -> Result<String, DialError> {
    names.resolve(name).await.map(|found| found[0].to_string())
}

/// Begins to wait, and gets as far as it can.
async fn waiting(names: &Names, name: &'static str) -> tokio::task::JoinHandle<Result<String, DialError>> {
    let names = names.clone();
    let task = tokio::spawn(async move { resolve(&names, name).await });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test(start_paused = true)]
async fn all_who_want_a_name_share_one_lookup_which_goes_on_when_they_leave() {
    let (script, names) = Scripted::names();
    let (one, two) = (waiting(&names, "a.test").await, waiting(&names, "a.test").await);
    assert_eq!(script.count(), 1);
    assert!(names.is_silent("a.test"));
    one.abort();
    script.answer(Ok("192.0.2.1"));
    assert_eq!(two.await.unwrap().unwrap(), "192.0.2.1");
    assert!(!names.is_silent("a.test"));
    // A burst of connections asks once.
    assert_eq!(resolve(&names, "a.test").await.unwrap(), "192.0.2.1");
    assert_eq!(script.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_runs_when_its_callers_leave_still_brings_its_answer() {
    let (script, names) = Scripted::names();
    let task = waiting(&names, "a.test").await;
    let (_, wanted, land) = script.begun.lock().unwrap().remove(0);
    assert!(wanted());
    task.abort();
    let _aborted = task.await;
    land(Ok(vec!["192.0.2.1".parse().unwrap()]));
    assert_eq!(resolve(&names, "a.test").await.unwrap(), "192.0.2.1");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_by_the_next_connection() {
    let (script, names) = Scripted::names();
    for ip in ["192.0.2.1", "192.0.2.2"] {
        let task = waiting(&names, "a.test").await;
        script.answer(Ok(ip));
        assert_eq!(task.await.unwrap().unwrap(), ip);
        tokio::time::advance(FRESH).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_resolve_fails_as_fast_as_the_lookup_and_is_asked_for_again() {
    let (script, names) = Scripted::names();
    for _ in 0..2 {
        let task = waiting(&names, "a.test").await;
        script.answer(Err("no such name"));
        let error = task.await.unwrap().unwrap_err();
        assert_eq!(error.kind, DialErrorKind::DnsError);
        assert_eq!(error.detail, "the name a.test does not resolve: no such name");
    }
    assert!(names.lock().is_empty(), "nothing is kept of it");
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_stands_in_for_one_that_fails_or_does_not_come() {
    let (script, names) = Scripted::names();
    let first = waiting(&names, "a.test").await;
    script.answer(Ok("192.0.2.1"));
    first.await.unwrap().unwrap();
    tokio::time::advance(FRESH).await;
    let failing = waiting(&names, "a.test").await;
    script.answer(Err("no name server"));
    assert_eq!(failing.await.unwrap().unwrap(), "192.0.2.1");
    // A silent one costs the first a moment, and those who come later none.
    let began = Instant::now();
    assert_eq!(resolve(&names, "a.test").await.unwrap(), "192.0.2.1");
    assert_eq!(began.elapsed().as_millis(), REFRESH_TIMEOUT.as_millis());
    let began = Instant::now();
    assert_eq!(resolve(&names, "a.test").await.unwrap(), "192.0.2.1");
    assert!(began.elapsed() < Duration::from_millis(5), "{:?}", began.elapsed());
    assert_eq!(script.count(), 1, "and they share its lookup");
    // Not for ever.
    tokio::time::advance(STALE).await;
    let late = waiting(&names, "a.test").await;
    assert!(!late.is_finished() && names.is_silent("a.test"));
    script.answer(Err("no name server"));
    assert_eq!(late.await.unwrap().unwrap_err().kind, DialErrorKind::DnsError);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_nobody_waits_for_any_more_when_it_could_begin_is_called_off() {
    let (script, names) = Scripted::names();
    let left = waiting(&names, "a.test").await;
    left.abort();
    let _aborted = left.await;
    let (_, wanted, _) = script.begun.lock().unwrap().remove(0);
    assert!(!wanted());
    assert!(names.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_by_names_and_by_lookups() {
    let (script, names) = Scripted::names();
    for number in 0..NAMES + 10 {
        let name = format!("host-{number}.test");
        let names = names.clone();
        let task = tokio::spawn(async move { resolve(&names, &name).await });
        tokio::task::yield_now().await;
        script.answer(Ok("192.0.2.1"));
        task.await.unwrap().unwrap();
    }
    assert_eq!(names.lock().len(), NAMES);
    let (_, silent) = Scripted::names();
    let mut tasks = Vec::new();
    for number in 0..NAMES {
        let (names, name) = (silent.clone(), format!("host-{number}.test"));
        tasks.push(tokio::spawn(async move { resolve(&names, &name).await }));
        tokio::task::yield_now().await;
    }
    let error = resolve(&silent, "one.more.test").await.unwrap_err();
    assert!(error.detail.contains("others are waiting"), "{error}");
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

/// On the real threads, with a call that does not come back for some names.
struct Blocking {
    threads: Arc<BlockingPool>,
    silent: HashSet<&'static str>,
    hang: Arc<Mutex<mpsc::Receiver<()>>>,
    hanging: Arc<AtomicUsize>,
}

impl Lookup for Blocking {
    fn begin(&self, name: &str, wanted: Wanted, land: Land) -> io::Result<()> {
        let (silent, hang) = (self.silent.iter().any(|silent| name.ends_with(silent)), Arc::clone(&self.hang));
        let hanging = Arc::clone(&self.hanging);
        self.threads.run(move || {
            if wanted() {
                if silent {
                    hanging.fetch_add(1, Ordering::Relaxed);
                    let _released = hang.lock().unwrap().recv();
                }
                land(Ok(vec!["192.0.2.1".parse().unwrap()]));
            }
        })
    }
}

#[tokio::test]
async fn silent_names_hold_their_own_threads_and_no_more_than_the_bound() {
    let (release, hang) = mpsc::channel::<()>();
    let hanging = Arc::new(AtomicUsize::new(0));
    let blocking = Blocking {
        threads: BlockingPool::new("test", 8),
        silent: HashSet::from([".silent.test"]),
        hang: Arc::new(Mutex::new(hang)),
        hanging: Arc::clone(&hanging),
    };
    let names = Names::by(Arc::new(blocking));
    let mut tasks = Vec::new();
    for number in 0..7 {
        let (names, name) = (names.clone(), format!("{number}.silent.test"));
        // Forty who want it are one lookup.
        tasks.extend((0..40).map(|_| {
            let (names, name) = (names.clone(), name.clone());
            tokio::spawn(async move { resolve(&names, &name).await })
        }));
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while hanging.load(Ordering::Relaxed) < 7 {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let good = tokio::time::timeout(Duration::from_secs(5), resolve(&names, "good.test")).await;
    assert_eq!(good.unwrap().unwrap(), "192.0.2.1");
    assert_eq!(hanging.load(Ordering::Relaxed), 7);
    drop(release);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}
