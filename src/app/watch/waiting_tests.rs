use super::*;
use crate::app::watch::changes::changes;

fn config(text: &str) -> Config {
    Config::parse("proxy.toml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn whatever_changes_in_the_shared_cache_waits() {
    let with = |cache: &str| {
        config(&format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[cache]\nkey = \"a key that is long enough to be one\"\n{cache}"
        ))
    };
    let old = with("shared = \"redis://a.test\"\n");
    assert_eq!(waiting(&old, &with("shared = \"redis://a.test:6379\"\n")), [""; 0], "the same in other words");
    for cache in [
        "shared = \"redis://b.test\"",
        "shared = \"rediss://a.test\"",
        "shared = \"redis://a.test\"\nprefix = \"other\"",
        "shared = \"redis://a.test\"\npassword = \"x\"",
    ] {
        let new = with(cache);
        assert_eq!(
            (waiting(&old, &new), changes(&old, &new)),
            (vec!["[cache] is different".to_owned()], vec!["[cache] changed".to_owned()]),
            "{cache}"
        );
    }
}

/// Each key of the rule, and what may change without it.
#[test]
fn what_says_where_and_how_a_secret_is_sent_waits() {
    let with = |credential: &str, upstream: &str, more: &str| {
        config(&format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[forward]\nvia = \"http://proxy.test:1\"\n\
             [credentials.a]\nclient_id = \"me\"\nclient_auth = \"none\"\n{credential}\
             [credentials.fixed]\nkind = \"bearer\"\ntoken = \"sentinel\"\n\
             [upstreams.a]\n{upstream}{more}"
        ))
    };
    let (endpoint, origin) =
        ("token_endpoint = \"https://login.test/token\"\n", "origin = \"https://a.test\"\ncredential = \"a\"\n");
    let old = with(endpoint, origin, "");
    let of = |credential: &str, upstream: &str, more: &str| waiting(&old, &with(credential, upstream, more));
    for different in [
        "token_endpoint = \"https://evil.test/token\"\n".to_owned(),
        format!("{endpoint}proxy = \"http://evil.test:1\"\n"),
        format!("{endpoint}issuer = \"https://evil.test\"\n"),
        format!("{endpoint}scope = \"more\"\n"),
        format!("{endpoint}headers = {{ X-A = \"b\" }}\n"),
        format!("{endpoint}timeout = \"3s\"\n"),
    ] {
        assert_eq!(of(&different, origin, ""), ["credential \"a\" is different"], "{different}");
    }
    for (different, key) in [
        (origin.replace("a.test", "evil.test"), "origin"),
        (origin.replace("\"a\"", "\"fixed\""), "credential"),
        (origin.replace("credential = \"a\"\n", ""), "credential"),
        (format!("{origin}connect = \"192.0.2.1:443\"\n"), "connect"),
        (format!("{origin}via = \"http://evil.test:1\"\n"), "via"),
        (format!("{origin}via = \"forward\"\n"), "via"),
        (format!("{origin}tls = {{ server_name = \"evil.test\" }}\n"), "tls"),
    ] {
        assert_eq!(of(endpoint, &different, ""), [format!("upstream \"a\" has another `{key}`")], "{different}");
    }
    let new = "[upstreams.b]\norigin = \"https://evil.test\"\n";
    assert_eq!(
        of(endpoint, origin, &format!("{new}credential = \"fixed\"\n")),
        ["upstream \"b\" is new, and its credential is a secret itself"]
    );
    let more = "[credentials.b]\nkind = \"bearer\"\ntoken = \"x\"\n";
    assert_eq!(of(endpoint, origin, more), ["credential \"b\" is new"]);
    for (upstream, more) in [
        (origin.to_owned(), new.to_owned()),
        (origin.to_owned(), format!("{new}credential = \"a\"\n")),
        (
            format!("{origin}http = \"refuse\"\nallow = [{{ methods = \"GET\" }}]\npool = {{ max = 5 }}\n"),
            String::new(),
        ),
        (origin.to_owned(), "[limits]\ndrain = \"1s\"\n".to_owned()),
    ] {
        assert_eq!(of(endpoint, &upstream, &more), [""; 0], "{upstream}{more}");
    }
}

/// `[forward] via` and that of an upstream may have a login, and `unmatched = "pass"` sends it there with every request.
#[test]
fn a_way_through_another_proxy_waits_wherever_it_stands() {
    let with = |via: &str, more: &str| {
        config(&format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n[forward]\nunmatched = \"pass\"\n{via}\n\
             [upstreams.a]\norigin = \"https://a.test\"\n{more}"
        ))
    };
    let (none, known) = ("", "via = \"http://proxy.test:1\"");
    let login = "via = { url = \"http://proxy.test:1\", username = \"x\", password = \"sentinel\" }";
    for (was, is) in [(none, known), (none, login), (known, login), (known, "via = \"http://evil.test:1\"")] {
        assert_eq!(waiting(&with(was, ""), &with(is, "")), ["[forward] has another `via`"], "{was} {is}");
    }
    for (was, is) in [(known, none), (login, login), (known, "via = \"http://proxy.test:1\"\nno_proxy = [\"a.test\"]")]
    {
        assert_eq!(waiting(&with(was, ""), &with(is, "")), [""; 0], "{was} {is}");
    }
    let new = |via: &str| format!("[upstreams.b]\norigin = \"https://b.test\"\n{via}\n");
    for via in [login, "via = \"http://evil.test:1\""] {
        let found = waiting(&with(known, ""), &with(known, &new(via)));
        assert_eq!(found, ["upstream \"b\" is new, and has a `via` of its own"], "{via}");
    }
    for via in ["", "via = \"none\"", "via = \"forward\"", known] {
        assert_eq!(waiting(&with(known, ""), &with(known, &new(via))), [""; 0], "{via}");
    }
}

/// It would run as attache's own user.
#[test]
fn another_program_waits_wherever_a_secret_names_it() {
    let with = |secret: &str, mode: &str, upstream: &str, more: &str| {
        config(&format!(
            "[listeners.a]\naddress = \"127.0.0.1:0\"\nmode = \"{mode}\"\ncallers = [\"c\"]\n{upstream}\
             [callers.c]\npassword = {secret}\ncredential = \"k\"\n{more}"
        ))
    };
    let credential = "[credentials.k]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"me\"\nclient_secret = { command = [\"known\"] }\n";
    let (command, other) = ("{ command = [\"one\"] }", "{ command = [\"one\", \"more\"] }");
    for mode in ["forward", "token"] {
        let of = |secret: &str| with(secret, mode, "", credential);
        let told = ["`callers.c.password` names another program"];
        for (was, is) in [("\"x\"", command), (command, other), (command, "{ command = [\"one\"], field = \"a\" }")] {
            assert_eq!(waiting(&of(was), &of(is)), told, "{mode} {was} {is}");
        }
        assert_eq!(waiting(&of("\"x\""), &of("[\"x\", { command = [\"one\"] }]")), told, "{mode}");
        for (was, is) in [
            ("\"x\"", "\"y\""),
            (command, command),
            (command, "\"x\""),
            (other, "[{ command = [\"one\", \"more\"] }, \"x\"]"),
        ] {
            assert_eq!(waiting(&of(was), &of(is)), [""; 0], "{mode} {was} {is}");
        }
    }
    // A token listener that asks for the secrets of the credentials themselves runs nothing new.
    let old = with("\"x\"", "token", "", credential);
    let own = format!("{credential}[listeners.b]\naddress = \"127.0.0.1:0\"\nmode = \"token\"\n");
    assert_eq!(waiting(&old, &with("\"x\"", "token", "", &own)), [""; 0]);

    let forward = with("\"x\"", "forward", "", "");
    for (upstream, more, places) in [
        (
            "tls = { certificate = { command = [\"one\"] } }\n",
            "",
            &["listeners.a.tls.certificate", "listeners.a.tls.key"][..],
        ),
        ("", "[admin]\naddress = \"127.0.0.1:0\"\ntoken = { command = [\"one\"] }\n", &["admin.token"]),
        (
            "",
            "[intercept]\nca_certificate = { command = [\"one\"] }\nca_key = { command = [\"two\"] }\n",
            &["intercept.ca_certificate", "intercept.ca_key"],
        ),
        (
            "",
            "[upstreams.b]\norigin = \"https://b.test\"\ntls = { client_certificate = { command = [\"one\"] } }\n",
            &["upstreams.b.tls.client_certificate", "upstreams.b.tls.client_key"],
        ),
    ] {
        let told: Vec<String> = places.iter().map(|place| format!("`{place}` names another program")).collect();
        let new = with("\"x\"", "forward", upstream, more);
        assert_eq!(waiting(&forward, &new), told);
        assert_eq!(waiting(&new, &new), [""; 0]);
    }
}

/// An origin, a path and a name are shown, looked up and sent in clear.
#[test]
fn a_variable_that_no_plain_key_has_read_yet_waits() {
    // Of the process that runs the tests: cargo sets them.
    let (secret, known, more) = ("CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "CARGO_PKG_VERSION_MINOR");
    let with = |origin: &str, argument: &str, rest: &str| {
        config(&format!(
            "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\ncallers = [\"c\"]\n\
             [callers.c]\npassword = {{ command = [\"one\", \"{argument}\"] }}\n\
             [credentials.k]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"me\"\nclient_secret = {{ env = \"{secret}\" }}\n\
             parameters = {{ key = \"${{{secret}}}\" }}\n[upstreams.a]\norigin = \"https://{origin}.test\"\n{rest}"
        ))
    };
    let new = |name: &str| format!("[upstreams.b]\norigin = \"https://${{{name}}}.evil.test\"\n");
    let argument = format!("${{{more}}}");
    let old = with(&format!("a-${{{known}}}"), &argument, "");
    let of = |rest: &str| waiting(&old, &with(&format!("a-${{{known}}}"), &argument, rest));
    for name in [secret, more] {
        assert_eq!(of(&new(name)), [format!("the variable {name} is read by a key that is no secret")]);
    }
    assert_eq!(of(&new(known)), [""; 0]);
}
