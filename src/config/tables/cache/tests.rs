use std::path::Path;
use std::time::Duration;

use crate::config::testing::{config, parse_in, problems, problems_in, token_settings};
use crate::fleet::FleetSettings;
use crate::secret::SecretSource;
use crate::store::StoreAddress;

const KEY: &str = "key = { env = \"CACHE_KEY\" }\n";

/// The lines of `[cache]` begin at line 11.
fn text(cache: &str) -> String {
    format!(
        "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[upstreams.a]\norigin = \"https://a.test\"\n\
         credential = \"a\"\n[credentials.a]\ntoken_endpoint = \"https://login.test/token\"\n\
         client_id = \"a\"\nclient_secret = {{ env = \"SECRET\" }}\n[cache]\n{cache}\n"
    )
}

fn with(shared: &str, rest: &str) -> String {
    text(&format!("shared = {shared}\n{KEY}{rest}"))
}

fn cache(shared: &str, rest: &str) -> FleetSettings {
    let read = config(&with(shared, rest));
    assert_eq!(read.warnings, [], "{shared} {rest}");
    read.cache.unwrap()
}

fn wrong(shared: &str, rest: &str) -> Vec<String> {
    problems(&with(shared, rest))
}

fn warnings(text: &str) -> Vec<String> {
    config(text).warnings.into_iter().map(|warning| format!("{:?} {}", warning.at.unwrap(), warning.what)).collect()
}

fn tcp(host: &str, port: u16) -> StoreAddress {
    StoreAddress::Tcp { host: host.to_owned(), port }
}

#[test]
fn a_cache_left_out_is_none_and_one_of_two_lines_has_its_defaults() {
    assert_eq!(config(&text("").replace("[cache]\n", "")).cache, None);
    let read = cache("\"redis://Cache.Test\"", "");
    assert_eq!(read.store.servers, [tcp("cache.test", 6379)]);
    assert_eq!((read.prefix.as_str(), read.push, read.store.timeout), ("attache", true, Duration::from_millis(250)));
    let store = read.store;
    assert!(!store.with_tls && store.database == 0 && store.tls == crate::store::StoreTlsSettings::default());
    assert!(store.username.is_none() && store.password.is_none() && store.sentinel.is_none());
}

#[test]
fn everything_else_is_read() {
    let read = cache(
        "\"rediss://attache@[::1]:7000/3\"",
        "password = { env = \"SECRET\" }\nprefix = \"a-b_c.9\"\ntimeout = \"5s\"\npush = false\ntls = { server_name = \"Cache.Internal\" }",
    );
    assert_eq!(read.store.servers, [tcp("::1", 7000)]);
    assert_eq!((read.store.with_tls, read.store.database, read.store.username.as_deref()), (true, 3, Some("attache")));
    assert_eq!(read.store.password.unwrap().sources(), [SecretSource::Env("SECRET".into())]);
    assert_eq!(read.store.tls.server_name.as_deref(), Some("cache.internal"));
    assert_eq!((read.prefix.as_str(), read.push, read.store.timeout), ("a-b_c.9", false, Duration::from_secs(5)));
}

#[test]
fn a_server_is_named_by_any_of_five_schemes() {
    for (url, tls, address) in [
        ("redis://a.test", false, tcp("a.test", 6379)),
        ("rediss://a.test/", true, tcp("a.test", 6379)),
        ("valkey://10.0.0.1:1/0", false, tcp("10.0.0.1", 1)),
        ("VALKEYS://a.test:2", true, tcp("a.test", 2)),
        ("redis+unix:///run/a%20b.sock", false, StoreAddress::Unix("/run/a b.sock".into())),
    ] {
        let read = cache(&format!("\"{url}\""), "").store;
        assert_eq!((read.with_tls, read.servers), (tls, vec![address]), "{url}");
    }
    let known = cache("\"redis+unix://me@/run/s\"", "password = { env = \"SECRET\" }").store;
    assert_eq!((known.username.as_deref(), known.servers), (Some("me"), vec![StoreAddress::Unix("/run/s".into())]));
}

#[test]
fn a_url_that_is_none_is_answered_with_what_to_write_and_never_repeated() {
    for (url, what, remedy) in [
        ("sentinel.test:6379", "has no scheme", "write \"rediss://HOST\""),
        ("http://sentinel.test", "has another scheme than those", "write \"rediss://HOST\""),
        ("redis+sentinel://sentinel.test", "has another scheme", "write the sentinels as a list, "),
        ("unix:///sentinel", "has another scheme", "write \"redis+unix:///path\""),
        ("redis://", "has no host", ""),
        ("redis:///5", "has no host", ""),
        ("redis://me:sentinel@", "is not valid: empty host", ""),
        ("redis://sentinel..test", "is not valid: the host has an empty label", ""),
        ("redis://sentinel%41.test", "is not valid: the host has a character that no host name has", ""),
        ("redis://sentinel.test:99999", "is not valid: invalid port number", ""),
        ("redis://sentinel.test:0", "names port 0", "write the port"),
        ("redis://a.test/sentinel", "has a path that is no number of a database", "write \"/0\""),
        ("redis://a.test/1/2", "has a path that is no number", ""),
        ("redis://a.test/+1", "has a path that is no number", ""),
        ("redis://a.test/65536", "has a path that is no number", ""),
        ("redis://a.test?sentinel=1", "has a query", "write what it says as keys of [cache]"),
        (
            "rediss://a.test#insecure-sentinel",
            "has a fragment",
            "remove what begins with \"#\"; a certificate is always",
        ),
        ("redis+unix://sentinel/run/s", "has a host before the path", "write \"redis+unix:///path\": three"),
        ("redis+unix://", "has no path", ""),
        ("redis+unix:///", "has no path", ""),
        ("redis+unix:///s?sentinel", "has a query or a fragment", ""),
    ] {
        let found = wrong(&format!("\"{url}\""), "");
        assert_eq!(found.len(), 1, "{url}: {found:#?}");
        let begin = format!("proxy.toml:12:10: `cache.shared` {what}");
        assert!(found[0].starts_with(&begin) && found[0].contains(&format!("; {remedy}")), "{url}: {found:#?}");
        assert!(!found[0].split("; ").next().unwrap().contains("sentinel"), "{url}: {found:#?}");
    }
    assert_eq!(wrong("\"redis://a..test:0/x?y#z\"", "").len(), 4, "all at once");
    assert_eq!(wrong("6379", "").len(), 1);
    assert_eq!(wrong("[]", "").len(), 1);
    assert_eq!(wrong("\" \"", "").len(), 1);
}

#[test]
fn several_are_servers_of_a_cluster_or_sentinels() {
    let list = "[\"redis://a.test\", \"redis://b.test:7000/0\"]";
    assert_eq!(cache(list, "").store.servers, [tcp("a.test", 6379), tcp("b.test", 7000)]);
    let sentinels = "sentinel = { master = \"one\", username = \"watch\", password = { env = \"SECRET\" } }";
    let read = cache(
        "[\"rediss://me@a.test/2\", \"rediss://b.test:7000\"]",
        &format!("password = {{ env = \"SECRET\" }}\n{sentinels}"),
    );
    assert_eq!(read.store.servers, [tcp("a.test", 26379), tcp("b.test", 7000)]);
    assert_eq!((read.store.database, read.store.username.as_deref()), (2, Some("me")));
    let sentinel = read.store.sentinel.unwrap();
    assert_eq!((sentinel.master.as_str(), sentinel.username.as_deref()), ("one", Some("watch")));
    assert!(sentinel.password.is_some());
    assert_eq!(cache("\"redis://a.test\"", "sentinel = { master = \"one\" }").store.servers, [tcp("a.test", 26379)]);
}

#[test]
fn several_that_do_not_agree_are_each_told() {
    let at = |column: usize, what: &str| format!("proxy.toml:12:{column}: `cache.shared` {what}");
    for (list, column, what) in [
        ("[\"redis://a.test\", \"rediss://b.test\"]", 29, "has another scheme than the first; write the same for all"),
        ("[\"redis://a.test\", \"valkey://b.test\"]", 29, "has another scheme than the first; "),
        ("[\"redis://a.test\", \"redis+unix:///s\"]", 29, "is a socket in a list of servers; "),
        ("[\"redis://a.test/1\", \"redis://b.test\"]", 11, "names a database, and a cluster has only 0; "),
        ("[\"redis://a.test\", \"redis://A.test:6379\"]", 29, "is listed twice; keep one of the two"),
        ("[\"redis://me:p@a.test\", \"redis://you@b.test\"]", 34, "names another user than one before it; "),
        ("[\"redis://:p@a.test\", \"redis://:sentinel@b.test\"]", 32, "has another password than one before it; "),
    ] {
        let found = wrong(list, "");
        assert_eq!(found.len(), 1, "{list}: {found:#?}");
        assert!(found[0].starts_with(&at(column, what)) && !found[0].contains("sentinel@"), "{list}: {found:#?}");
    }
    let sentinel = "sentinel = { master = \"one\" }";
    let found = wrong("[\"redis://a.test/1\", \"redis://b.test/2\", \"http://c.test\"]", sentinel);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with(&at(31, "names another database than one before it; ")), "{found:#?}");
    let found = wrong("\"redis+unix:///s\"", sentinel);
    assert!(
        found.len() == 1 && found[0].contains("is a socket of this machine, where sentinels are meant"),
        "{found:#?}"
    );
}

#[test]
fn what_is_missing_is_told_with_how_to_make_it() {
    let missing = |key: &str| format!("proxy.toml:11:1: `cache.{key}` is missing; ");
    let found = problems(&text(""));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with(&(missing("shared") + "write shared = \"rediss://HOST\"")), "{found:#?}");
    assert!(found[1].starts_with(&(missing("key") + "make one: openssl rand -base64 32; ")), "{found:#?}");
    let found = problems(&text("shared = \"redis://a.test\""));
    assert!(found.len() == 1 && found[0].starts_with(&missing("key")), "{found:#?}");
    let found = problems(&text(&format!("{KEY}sentinel = {{ master = \"one\" }}")));
    assert!(found.len() == 1 && found[0].starts_with(&missing("shared")), "{found:#?}");
    let found = wrong("\"redis://me@a.test\"", "");
    assert!(found.len() == 1 && found[0].starts_with(&missing("password")), "{found:#?}");
    let found = wrong("\"redis://a.test\"", "sentinel = { username = \"me\" }");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("`cache.sentinel.master` is missing; "), "{found:#?}");
    assert!(found[1].contains("`cache.sentinel.password` is missing; "), "{found:#?}");
    let found = problems(&text("shard = \"redis://a.test\"\nkey = { env = \"CACHE_KEY\" }"));
    assert_eq!(found, ["proxy.toml:12:1: unknown key `shard` in [cache]; did you mean `shared`?"]);
}

#[test]
fn every_key_has_to_be_long_enough() {
    let keys = |written: &str| problems(&text(&format!("shared = \"redis://a.test\"\nkey = {written}")));
    let found = keys("{ env = \"SECRET\" }");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0]
            .starts_with("proxy.toml:13:7: `cache.key` is shorter than 32 bytes; make one: openssl rand -base64 32 "),
        "{found:#?}"
    );
    let found = keys("[{ env = \"CACHE_KEY\" }, { env = \"SECRET\" }, \"0123456789abcdef0123456789abcdef\"]");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("proxy.toml:13:31: `cache.key` is shorter than 32 bytes; "), "{found:#?}");
    assert!(
        found[1]
            .starts_with("proxy.toml:13:51: `cache.key` has fewer than 64 hex digits, which are fewer than 32 bytes; "),
        "{found:#?}"
    );
    let found = keys("\"sentinel sentinel\"");
    assert!(found.len() == 1 && !found[0].contains("sentinel"), "{found:#?}");
    let two = "[{ env = \"CACHE_KEY\" }, { command = [\"/surely/not/there\"] }]";
    assert_eq!(
        config(&text(&format!("shared = \"redis://a.test\"\nkey = {two}"))).cache.unwrap().keys.sources().len(),
        2
    );
}

#[test]
fn a_secret_of_the_cache_that_cannot_be_read_is_a_problem() {
    let found = problems(&text(
        "shared = \"redis://a.test\"\nkey = { env = \"NOT_SET\" }\npassword = { file = \"/surely/not/there\" }\nsentinel = { master = \"x\", password = { env = \"EMPTY\" } }",
    ));
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("proxy.toml:13:15: `cache.key.env` names the environment variable NOT_SET, "),
        "{found:#?}"
    );
    assert!(found[1].contains("`cache.password.file` cannot be used: cannot read /surely/not/there"), "{found:#?}");
    assert!(found[2].contains("`cache.sentinel.password.env` names the environment variable EMPTY, "), "{found:#?}");
    // Who only describes what runs elsewhere needs none of them.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(
        &path,
        with("\"redis://a.test\"", "password = { env = \"NOT_SET\" }").replace("CACHE_KEY", "NOT_SET"),
    )
    .unwrap();
    assert!(crate::config::Config::load(&path).is_err());
    assert!(crate::config::Config::load_without_secrets(&path).unwrap().cache.is_some());
}

#[test]
fn tls_is_for_a_scheme_with_tls() {
    let found = wrong("\"redis://a.test\"", "tls = { server_name = \"b.test\" }");
    assert_eq!(
        found,
        [
            "proxy.toml:14:7: `cache.tls` is not used: the scheme of `shared` is one without TLS; write rediss:// (or valkeys://) in `shared`, or remove it"
        ]
    );
    let found = wrong(
        "\"rediss://a.test\"",
        "tls = { server_name = \"b.test:1\", ca_file = \"/surely/not/there\", client_key = \"x\" }",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    std::fs::write(folder.path().join("a.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("a.key"), made.signing_key.serialize_pem()).unwrap();
    let tls = "tls = { ca_file = \"a.pem\", client_certificate = \"a.pem\", client_key = \"a.key\" }";
    let read = parse_in(folder.path(), &with("\"rediss://a.test\"", tls)).unwrap_or_else(|errors| panic!("{errors}"));
    let tls = read.cache.unwrap().store.tls;
    assert_eq!(tls.ca_file.as_deref(), Some(folder.path().join("a.pem").as_path()));
    assert!(tls.identity.is_some());
    std::fs::write(folder.path().join("b.key"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let tls = "tls = { client_certificate = \"a.pem\", client_key = \"b.key\" }";
    let found = problems_in(folder.path(), &with("\"rediss://a.test\"", tls));
    assert!(found.len() == 1 && found[0].contains("`cache.tls.client_key` does not belong to"), "{found:#?}");
}

#[test]
fn values_out_of_range_are_told_together() {
    let found = wrong("\"redis://a.test\"", "prefix = \"a{b}\"\ntimeout = \"9ms\"\npush = \"yes\"");
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0]
            .starts_with("proxy.toml:14:10: `cache.prefix` cannot be a part of the names in the cache; write 1 to 64")
    );
    assert!(
        found[1].starts_with("proxy.toml:15:11: `cache.timeout` is out of range; write a time from \"10ms\" to \"5s\"")
    );
    assert!(found[2].starts_with("proxy.toml:16:8: `cache.push` is a string, not a boolean; "));
    for timeout in ["\"5001ms\"", "\"0s\"", "250", "\"1\""] {
        assert_eq!(wrong("\"redis://a.test\"", &format!("timeout = {timeout}")).len(), 1, "{timeout}");
    }
    for prefix in [&"a".repeat(65), "ä", "a:b"] {
        assert_eq!(wrong("\"redis://a.test\"", &format!("prefix = \"{prefix}\"")).len(), 1, "{prefix}");
    }
}

#[test]
fn a_password_in_the_url_works_and_is_warned_about() {
    let text = with("\"redis://me:hun%74er2@127.0.0.1\"", "");
    let read = config(&text);
    assert_eq!(read.warnings.len(), 1);
    assert_eq!(read.warnings[0].at, Some((12, 10)));
    assert_eq!(read.warnings[0].what, "`cache.shared`: the password is written into the URL");
    let store = &read.cache.as_ref().unwrap().store;
    let password = SecretSource::Literal(crate::secret::Secret::new("hunter2".into()));
    assert_eq!(store.password.as_ref().unwrap().sources(), [password]);
    assert!(!format!("{read:?}").contains("hunter2"));
    let found = wrong("\"redis://me:hunter2@127.0.0.1\"", "password = { env = \"SECRET\" }");
    assert_eq!(
        found,
        ["proxy.toml:14:12: `cache.password` stands beside another password in `shared`; take the one in the URL out"]
    );
}

#[test]
fn a_password_that_goes_to_another_machine_in_clear_is_warned_about() {
    let password = "password = { env = \"SECRET\" }";
    let warning =
        "(12, 10) `cache.shared`: the password goes to another machine in clear; tokens do not, they are sealed";
    assert_eq!(warnings(&with("\"redis://a.test\"", password)), [warning]);
    let sentinel = "sentinel = { master = \"x\", password = { env = \"SECRET\" } }";
    assert_eq!(warnings(&with("[\"redis://127.0.0.1\", \"redis://a.test\"]", sentinel)), [warning]);
    for quiet in ["rediss://a.test", "redis://localhost", "redis://[::1]:7", "redis+unix:///s"] {
        assert_eq!(warnings(&with(&format!("\"{quiet}\""), password)), [""; 0], "{quiet}");
    }
    assert_eq!(warnings(&with("\"redis://a.test\"", "")), [""; 0], "there is none");
}

#[test]
fn a_credential_may_stay_out_of_it() {
    let credential = |rest: &str| with("\"redis://a.test\"", "").replace("client_id", &format!("{rest}\nclient_id"));
    assert!(token_settings(&credential("")).shared);
    assert!(
        token_settings(&credential("shared = true")).shared && !token_settings(&credential("shared = false")).shared
    );
    let found = problems(&credential("shared = \"no\""));
    assert!(
        found.len() == 1 && found[0].starts_with("proxy.toml:9:10: `credentials.a.shared` is a string, "),
        "{found:#?}"
    );
    let found = problems(&with(
        "\"redis://a.test\"",
        "[credentials.b]\nkind = \"bearer\"\ntoken = { env = \"SECRET\" }\nshared = false",
    ));
    assert!(found.len() == 1 && found[0].contains("unknown key `shared` in [credentials.b]"), "{found:#?}");
}

#[test]
fn what_is_asked_to_be_shared_and_cannot_be_is_a_warning() {
    let nothing = "(12, 1) `[cache]` shares nothing: no credential has tokens that other replicas could use";
    let two = "(13, 1) `[cache]` shares nothing: no credential has tokens that other replicas could use";
    let credential = |rest: &str| with("\"redis://a.test\"", "").replace("client_id", &format!("{rest}\nclient_id"));
    let bound = "(9, 10) `credentials.a.shared` has no effect: its tokens are bound to a key of this process (set dpop.private_key)";
    assert_eq!(warnings(&credential("shared = true\ndpop = true")), [bound, two]);
    assert_eq!(warnings(&credential("dpop = true")), [nothing], "nobody has asked for it");
    assert_eq!(warnings(&credential("shared = false")), [nothing]);
    let exchanged = "(9, 10) `credentials.a.shared` has no effect: each caller's own token is what is exchanged";
    assert_eq!(warnings(&credential("shared = true\ngrant = \"token_exchange\"")), [exchanged, two]);
    let alone = credential("shared = true");
    let alone = alone.split("[cache]").next().unwrap();
    assert_eq!(warnings(alone), ["(9, 10) `credentials.a.shared` has no effect: there is no [cache]"]);
    assert_eq!(warnings(&alone.replace("shared = true", "shared = false")), [""; 0], "it does what it says");
}

#[test]
fn what_debug_prints_of_a_cache_has_no_secret_in_it() {
    let text = text(
        "shared = \"redis://me@a.test\"\nkey = [\"hunter2 hunter2 hunter2 hunter2 hunter2\"]\npassword = \"hunter2\"\nsentinel = { master = \"m\", password = \"hunter2 of sentinels\" }",
    );
    let read = parse_in(Path::new(""), &text).unwrap();
    let shown = format!("{read:?}");
    assert!(shown.contains("a.test") && !shown.contains("hunter2"), "{shown}");
}
