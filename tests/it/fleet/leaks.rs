//! No token and no secret is in the server, on the way there, or in a log; and nothing of what is in the server is in a log, a metric
//! or a page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::on_each_server;
use super::replicas::{Replica, Toml, until_connected};
use super::store::StoreServer;
use crate::support::{Folder, Reply, Scripted, TokenServer, get, until};

const ACCESS_TOKEN: &str = "acc3ss.QzSentinelPq-";
const CLIENT_SECRET: &str = "cl1ent-QzSentinelRq";
const PASSWORD: &str = "p4ssword-QzSentinelSq";
const KEY: &str = "k3y-of-the-fleet-QzSentinelTq-0123456789";

/// Each as it is, in any case, and in base64 of anything around it.
fn forms() -> Vec<String> {
    let substances = ['P', 'R', 'S', 'T'].map(|letter| format!("QzSentinel{letter}q"));
    let encoded = |substance: &String| {
        let shifted = |before: usize| {
            let encoded = STANDARD.encode([&b"xx"[..before], substance.as_bytes()].concat());
            encoded[if before == 0 { 0 } else { 4 }..encoded.len() - 4].to_ascii_lowercase()
        };
        [shifted(0), shifted(1), shifted(2)]
    };
    let all = substances.iter().flat_map(encoded);
    all.chain(substances.iter().map(|substance| substance.to_ascii_lowercase())).collect()
}

#[track_caller]
fn assert_without(place: &str, text: &str, forms: &[String]) {
    let small = text.to_ascii_lowercase();
    for form in forms {
        if let Some(at) = small.find(&form.to_ascii_lowercase()) {
            panic!("{form} is in {place}: {:?}", text.get(at.saturating_sub(200)..(at + 200).min(text.len())));
        }
    }
}

/// Reads along what is said to the server.
async fn monitor(server: &StoreServer, user: &str) -> tokio::task::JoinHandle<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    stream.write_all(format!("AUTH {user}\r\nMONITOR\r\n").as_bytes()).await.unwrap();
    let mut said = vec![0; 10];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(said, b"+OK\r\n+OK\r\n");
    tokio::spawn(async move {
        let mut all = Vec::new();
        // Until the server's end.
        drop(stream.read_to_end(&mut all).await);
        String::from_utf8_lossy(&all).into_owned()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_leaks_into_the_server_or_out_of_it() {
    on_each_server(|kind| async move {
        let user = format!("user attache on >{PASSWORD} ~* &* +@all");
        let mut server = StoreServer::start(kind, &[&user, "user watcher on >watcher ~* &* +@all"]);
        let said = monitor(&server, "watcher watcher").await;
        let tokens = TokenServer::scripted(|_, number| {
            if number == 3 {
                return Reply::new(400, "", &format!(r#"{{"error":"invalid_client","error_description":"{CLIENT_SECRET}"}}"#));
            }
            Reply::ok(&TokenServer::granted(&format!("{ACCESS_TOKEN}{number}"), 3600))
        })
        .await;
        let api = Scripted::start(|asked, number| {
            // The second token is the one that is good.
            let good = asked.field("authorization").is_some_and(|value| !value.ends_with(&format!("{ACCESS_TOKEN}0")));
            if good || number == 0 { Reply::ok("fine") } else { Reply::new(401, "", "") }
        })
        .await;
        let toml = Toml {
            cache: format!(
                "[cache]\nshared = \"redis://attache@127.0.0.1:{}\"\nkey = {{ env = \"KEY\" }}\npassword = {{ env = \"PASSWORD\" }}\n",
                server.port()
            ),
            endpoint: tokens.endpoint(),
            origin: api.origin(),
            credential: String::new(),
        };
        let toml = toml.text().replace("\"s3cret\"", "{ env = \"SECRET\" }");
        let mut replicas = Vec::new();
        for _ in 0..3 {
            let folder = Folder::with(&toml).env("KEY", KEY).env("PASSWORD", PASSWORD).env("SECRET", CLIENT_SECRET);
            let running = folder.start(&["run", "--log", "trace"]);
            replicas.push(Replica::started(folder, running).await);
        }
        until_connected(&server, 3).await;
        for _ in 0..2 {
            for replica in &replicas {
                assert_eq!(get(replica.api, "localhost", "/").await.status, 200);
            }
        }
        // A token, one more, and a failure that all are told. Who asks for a new one while another has one on its way is given that.
        let place = super::key(&server);
        let generation = || server.cli(&["HGET", &place, "g"]);
        let before = (tokens.requests(), generation());
        assert_eq!(before.0, 2, "one token, and one more because the first was refused");
        replicas[0].refresh().await;
        until("it is the fleet's", || async { generation() != before.1 }).await;
        replicas[1].refresh().await;
        until("all of it has happened", || async { tokens.requests() >= 4 }).await;

        let keys = server.cli(&["KEYS", "*"]);
        let mut identity = String::new();
        for key in keys.split(' ') {
            if server.cli(&["TYPE", key]) == "hash" {
                identity = server.cli(&["HGETALL", key]);
                assert_without("the server", &identity, &forms());
            }
        }
        let tag = place.rsplit(':').next().unwrap().to_owned();
        let mark = server.cli(&["HGET", &place, "mark"]);
        assert!(tag.len() == 22 && mark.len() == 22 && !identity.is_empty(), "{tag} {mark}");
        let mut pages = String::new();
        for replica in &replicas {
            for page in ["/metrics", "/api/status", "/readyz", "/"] {
                pages += replica.page(page).await.text();
            }
        }
        server.kill();
        let said = said.await.unwrap();
        assert!(said.contains(&tag) && said.contains("EVALSHA"), "MONITOR says nothing");
        // The server itself hides passwords there.
        assert_without("what is said to the server", &said, &forms());

        for replica in replicas {
            replica.running.signal("TERM");
            let finished = replica.running.finish().await;
            assert!(finished.stderr.contains("token obtained"), "{}", finished.stderr);
            let inside = [forms(), vec![tag.clone(), mark.clone()]].concat();
            assert_without("a log", &finished.stderr, &inside);
            assert_without("standard output", &finished.stdout, &inside);
        }
        assert!(pages.contains("attache_cache_tokens_total"), "{pages}");
        assert_without("a page", &pages, &[forms(), vec![tag, mark]].concat());
    })
    .await;
}
