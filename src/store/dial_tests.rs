//! Where connections go and how they are greeted, by scripted servers.

use std::sync::Mutex;
use std::time::Duration;

use super::real_tests::{echo, hello, probe, settings, until};
use super::scripted_peer::{Peer, Say, connected_to, good, is_echo, is_probe, refused, start_with};
use super::*;
use crate::secret::{Secret, SecretSource, Secrets};

#[tokio::test]
async fn a_cluster_is_followed_to_the_node_that_has_the_key_and_remembered() {
    let node = Arc::new(Peer::start(|_, command| good(command)).await);
    let to = node.port;
    // On connecting.
    let seed = Peer::start(move |_, command| match command {
        command if is_probe(command) => Say::Owned(format!("-MOVED 866 :{to}\r\n")),
        command => good(command),
    })
    .await;
    let store = connected_to(&seed).await;
    assert_eq!(store.status().address, Some(node.address().to_string()));
    assert_eq!(echo(&store).await, hello());
    assert_eq!((seed.connections(), node.connections()), (1, 1));
    // Later.
    let seed = Peer::start(move |_, command| match command {
        command if is_echo(command) => Say::Owned(format!("-MOVED 866 127.0.0.1:{to}\r\n")),
        command => good(command),
    })
    .await;
    let store = connected_to(&seed).await;
    assert_eq!(echo(&store).await, refused(Refusal::NotReady("MOVED".into())));
    let mut made = store.connections();
    made.wait_for(|made| *made == 2).await.unwrap();
    assert_eq!(echo(&store).await, hello());
    assert_eq!(seed.connections(), 1);
}

#[tokio::test]
async fn nodes_that_send_each_other_on_are_not_followed_for_ever() {
    let port = Arc::new(Mutex::new(0));
    let to = Arc::clone(&port);
    let seed = Peer::start(move |_, command| match command {
        command if is_probe(command) => Say::Owned(format!("-MOVED 866 127.0.0.1:{}\r\n", to.lock().unwrap())),
        command => good(command),
    })
    .await;
    *port.lock().unwrap() = seed.port;
    let store = start_with(settings(vec![seed.address()]), &StoreMetrics::default());
    until("an error", || store.status().last_error.is_some()).await;
    let connections = seed.connections();
    assert!((4..=8).contains(&connections), "{connections}");
}

#[tokio::test]
async fn a_server_without_the_newer_protocol_is_spoken_to_in_the_older_one_and_polled() {
    for line in [
        "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n",
        "-NOPROTO unsupported protocol version\r\n",
        "-NOPERM this user has no permissions to run the 'hello' command\r\n",
    ] {
        let peer = Peer::start(move |_, command| match command {
            command if command.starts_with("HELLO") => Say::Bytes(line),
            command => good(command),
        })
        .await;
        let password = Secrets::one(SecretSource::Literal(Secret::new("hunter2".into())));
        let with_login =
            StoreSettings { username: Some("u".into()), password: Some(password), ..settings(vec![peer.address()]) };
        let store = start_with(with_login, &StoreMetrics::default());
        assert!(store.wait_connected(Duration::from_secs(30)).await, "{store:?}");
        assert_eq!(echo(&store).await, hello());
        assert_eq!(store.status().push, Push::Refused);
        let begun = ["HELLO 3 AUTH u hunter2", "AUTH u hunter2", "CLIENT SETNAME attache-test", "ROLE"];
        assert_eq!(peer.asked()[..4], begun);
        assert_eq!(peer.count("SUBSCRIBE"), 0);
        assert!(!format!("{store:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_server_that_refuses_to_say_what_others_have_put_is_polled() {
    let peer = Peer::start(|_, command| match command {
        command if command.starts_with("SUBSCRIBE") => Say::Bytes("-NOPERM this user has no permissions\r\n"),
        command => good(command),
    })
    .await;
    let store = connected_to(&peer).await;
    assert_eq!(store.status().push, Push::Refused);
    assert_eq!(echo(&store).await, hello());
}

#[tokio::test]
async fn what_is_no_primary_is_not_used() {
    for (role, error) in [("$5\r\nslave", "a slave, not a primary"), ("$8\r\nsentinel", "is a sentinel")] {
        let peer = Peer::start(move |_, command| match command {
            command if command.starts_with("HELLO") => Say::Bytes("-ERR unknown command\r\n"),
            "ROLE" => Say::Owned(format!("*1\r\n{role}\r\n")),
            command => good(command),
        })
        .await;
        let store = start_with(settings(vec![peer.address()]), &StoreMetrics::default());
        until("an error", || store.status().last_error.is_some_and(|said| said.contains(error))).await;
        assert_eq!(echo(&store).await, Err(StoreError::Away));
    }
}

#[tokio::test]
async fn an_acl_without_role_is_no_obstacle() {
    let peer = Peer::start(|_, command| match command {
        command if command.starts_with("HELLO") => Say::Bytes("-NOPERM no permissions\r\n"),
        "ROLE" => Say::Bytes("-NOPERM no permissions\r\n"),
        command => good(command),
    })
    .await;
    let store = connected_to(&peer).await;
    assert_eq!(echo(&store).await, hello());
}

#[tokio::test]
async fn what_is_not_the_protocol_and_what_closes_is_no_answer() {
    for (what, error) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", StoreError::Broken),
        ("*1\r\n:x\r\n", StoreError::Broken),
        ("", StoreError::Broken),
    ] {
        let peer = Peer::start(move |number, command| match number {
            1 if is_echo(command) && what.is_empty() => Say::Close,
            1 if is_echo(command) => Say::Bytes(what),
            _ => good(command),
        })
        .await;
        let store = connected_to(&peer).await;
        assert_eq!(echo(&store).await, Err(error), "{what:?}");
        let mut made = store.connections();
        made.wait_for(|made| *made == 2).await.unwrap();
        assert_eq!(echo(&store).await, hello());
    }
}

#[tokio::test]
async fn an_answer_without_an_end_breaks_the_connection() {
    let peer = Peer::start(|number, command| match number {
        1 if is_echo(command) => Say::Flood,
        _ => good(command),
    })
    .await;
    let patient = StoreSettings { timeout: Duration::from_secs(30), ..settings(vec![peer.address()]) };
    let store = start_with(patient, &StoreMetrics::default());
    assert!(store.wait_connected(Duration::from_secs(30)).await);
    assert_eq!(echo(&store).await, Err(StoreError::Broken));
}

/// Time is paused: it passes whenever nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_dialled_less_and_less_often() {
    let peer = Peer::start(|_, _| Say::Nothing).await;
    let store = start_with(settings(vec![peer.address()]), &StoreMetrics::default());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(echo(&store).await, Err(StoreError::Away));
    let said = format!("127.0.0.1:{} did not answer within 5s", peer.port);
    assert_eq!(store.status().last_error, Some(said));
    let at = peer.accepted.lock().unwrap().clone();
    let gaps: Vec<f64> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() - 5.0).collect();
    for (gap, expected) in gaps.iter().zip([0.25, 0.5, 1.0, 2.0, 4.0, 5.0]) {
        assert!((0.75 * expected..=1.25 * expected + 0.01).contains(gap), "{gaps:?}");
    }
    assert!(gaps.len() >= 6, "{gaps:?}");
}

#[tokio::test]
async fn a_full_server_is_read_from_and_taken_back_with_the_first_write() {
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let peer = Peer::start(move |_, command| {
        let full = is_full.load(std::sync::atomic::Ordering::SeqCst);
        if full && is_probe(command) { Say::Bytes("-OOM command not allowed\r\n") } else { good(command) }
    })
    .await;
    let store = connected_to(&peer).await;
    until("it is seen", || store.state() == StoreState::RefusingWrites).await;
    assert_eq!(echo(&store).await, hello(), "what does not write is answered");
    assert_eq!(store.state(), StoreState::RefusingWrites, "and says nothing of writes");
    let beat = probe();
    let write = || store.run(beat.script, &beat.key, beat.arguments.clone());
    assert_eq!(write().await, refused(Refusal::OutOfMemory));
    full.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(write().await, Ok(Reply::Integer(1)));
    assert_eq!(store.state(), StoreState::Connected);
    full.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(write().await, refused(Refusal::OutOfMemory));
    assert_eq!(store.state(), StoreState::RefusingWrites);
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn with_the_last_handle_the_connection_ends_and_nobody_dials() {
    let peer = Peer::start(|_, command| good(command)).await;
    let store = connected_to(&peer).await;
    let other = store.clone();
    drop(store);
    assert_eq!(echo(&other).await, hello());
    assert_eq!(*peer.closed.lock().unwrap(), 0);
    drop(other);
    until("it is closed", || *peer.closed.lock().unwrap() == 1).await;
    assert_eq!(peer.connections(), 1);
}

/// Time is paused: it passes whenever nothing else can happen.
#[tokio::test(start_paused = true)]
async fn silent_servers_do_not_hide_a_good_one_however_many_there_are() {
    let silent = Peer::start(|_, _| Say::Nothing).await;
    let peer = Peer::start(|_, command| good(command)).await;
    for seed in 0..8 {
        // Wherever in the list it begins.
        fastrand::seed(seed);
        let mut servers = vec![silent.address(); 7];
        servers.push(peer.address());
        let store = start_with(settings(servers), &StoreMetrics::default());
        assert!(store.wait_connected(Duration::from_secs(60)).await, "{store:?}");
        assert_eq!(store.status().address, Some(peer.address().to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn silent_sentinels_do_not_hide_one_that_answers() {
    let silent = Peer::start(|_, _| Say::Nothing).await;
    let peer = Peer::start(|_, command| good(command)).await;
    let to = peer.port;
    let sentinel = Peer::start(move |_, command| match command {
        "SENTINEL get-master-addr-by-name main" => {
            Say::Owned(format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{to}\r\n", to.to_string().len()))
        }
        command => good(command),
    })
    .await;
    for seed in 0..8 {
        fastrand::seed(seed);
        let mut servers = vec![silent.address(); 7];
        servers.push(sentinel.address());
        let of = SentinelSettings { master: "main".into(), username: None, password: None };
        let by_sentinel = StoreSettings { sentinel: Some(of), ..settings(servers) };
        let store = start_with(by_sentinel, &StoreMetrics::default());
        assert!(store.wait_connected(Duration::from_secs(60)).await, "{store:?}");
        assert_eq!(store.status().address, Some(peer.address().to_string()));
    }
}

#[tokio::test]
async fn a_host_that_another_server_names_is_shown_only_if_it_is_fit_to_be() {
    for host in ["a\u{1b}[2Jb".to_owned(), "a\nb".to_owned(), "x".repeat(100_000)] {
        let (named, moved) = (host.clone(), host.replace('\n', "\t"));
        let sentinel = Peer::start(move |_, command| match command.split(' ').next() {
            Some("SENTINEL") => Say::Owned(format!("*2\r\n${}\r\n{named}\r\n$1\r\n1\r\n", named.len())),
            _ => good(command),
        })
        .await;
        let of = SentinelSettings { master: "main".into(), username: None, password: None };
        let by_sentinel = StoreSettings { sentinel: Some(of), ..settings(vec![sentinel.address()]) };
        let store = start_with(by_sentinel, &StoreMetrics::default());
        let said = format!("{}: its answer makes no sense", sentinel.address());
        until(&said, || store.status().last_error.as_ref() == Some(&said)).await;
        let node = Peer::start(move |_, command| match command {
            command if is_probe(command) => Say::Owned(format!("-MOVED 866 {moved}:1\r\n")),
            command => good(command),
        })
        .await;
        let store = start_with(settings(vec![node.address()]), &StoreMetrics::default());
        let said = format!("{} says that the key is elsewhere, at a place that was not understood", node.address());
        until(&said, || store.status().last_error.as_ref() == Some(&said)).await;
    }
}

#[tokio::test]
async fn of_what_is_said_on_the_channel_nothing_is_kept_that_is_longer_than_a_message() {
    let message = |text: &str| {
        format!(">3\r\n$7\r\nmessage\r\n$24\r\nattache:1:{{attache}}:news\r\n${}\r\n{text}\r\n", text.len())
    };
    let said: String = [65, 1_000_000, 64].map(|length| message(&"x".repeat(length))).concat();
    let peer = Peer::start(move |_, command| match command {
        command if is_echo(command) => Say::Owned(format!("{said}$5\r\nhello\r\n")),
        command => good(command),
    })
    .await;
    let patient = StoreSettings { timeout: Duration::from_secs(30), ..settings(vec![peer.address()]) };
    let store = start_with(patient, &StoreMetrics::default());
    assert!(store.wait_connected(Duration::from_secs(30)).await, "{store:?}");
    let mut messages = store.messages();
    assert_eq!(echo(&store).await, hello());
    assert_eq!(messages.recv().await.unwrap().len(), 64);
    assert!(messages.try_recv().is_err());
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_with_what_to_do() {
    let peer = Peer::start(|_, command| match command {
        command if command.starts_with("SELECT") => Say::Bytes("-ERR DB index is out of range\r\n"),
        command => good(command),
    })
    .await;
    let store = start_with(StoreSettings { database: 99, ..settings(vec![peer.address()]) }, &StoreMetrics::default());
    until("it is refused", || store.status().remedy.is_some_and(|remedy| remedy.contains("+select"))).await;
    let error = store.status().last_error.unwrap();
    assert!(error.contains("does not let database 99 be used"), "{error}");
}
