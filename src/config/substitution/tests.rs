use std::path::Path;

use crate::config::testing::{CREDENTIAL, config, forward, upstream, with_credential};
use crate::config::{Config, ConfigErrors};
use crate::proxy::Unmatched;
use crate::secret::SecretSource;

/// What a stage has in its environment.
fn stage(name: &str) -> Option<String> {
    let value = match name {
        "ID" => "batch",
        "HOST" => "api.test",
        "URL" => "https://login.test/token",
        "LISTEN" => "127.0.0.1:0",
        "SECRET" => "sentinel",
        "ON" => "true",
        "NUMBER" => "64",
        "NUMBERS" => "8443 9443",
        "FRACTION" => "0.5",
        "WORDS" => "a b",
        "WORD" => "pass",
        "PASSWORD" => "sen$tinel",
        "BLANK" => " ",
        _ => return None,
    };
    Some(value.to_owned())
}

fn read(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse_with("proxy.toml", text, Path::new(""), &stage)
}

fn right(text: &str) -> Config {
    read(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn problems(text: &str) -> Vec<String> {
    read(text).err().map_or_else(Vec::new, |errors| errors.to_string().lines().map(str::to_owned).collect())
}

fn warnings(text: &str) -> Vec<String> {
    right(text).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn one_file_serves_every_stage() {
    let written = right(
        "[listeners.a]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\nopen = true\n[forward]\nunmatched = \"pass\"\nconnect_ports = [8443, 9443]\n\
         [credentials.a]\ntoken_endpoint = \"https://login.test/token\"\nclient_id = \"batch\"\nclient_secret = { env = \"SECRET\" }\n\
         scope = [\"a\", \"b\"]\nrefresh_ahead = 0.5\nparameters = { env = \"batch\", host = \"api.test\" }\n\
         [upstreams.a]\norigin = \"https://api.test\"\ncredential = \"a\"\npool = { max = 64 }\nallow = [{ methods = \"GET\", paths = \"/batch/*\" }]\n",
    );
    let plain = right(
        "[listeners.a]\naddress = \"${LISTEN}\"\nmode = \"${MODE:-forward}\"\nopen = \"${ON}\"\n[forward]\nunmatched = \"${WORD}\"\nconnect_ports = \"${NUMBERS}\"\n\
         [credentials.a]\ntoken_endpoint = \"${URL}\"\nclient_id = \"${ID}\"\nclient_secret = \"${SECRET}\"\n\
         scope = \"${WORDS}\"\nrefresh_ahead = \"${FRACTION}\"\nparameters = { env = \"${ID}\", host = { env = \"HOST\" } }\n\
         [upstreams.a]\norigin = \"https://${HOST}\"\ncredential = \"a\"\npool = { max = \"${NUMBER}\" }\nallow = [{ methods = \"GET\", paths = \"/${ID}/*\" }]\n",
    );
    let tables = right(
        "[listeners.a]\naddress = { env = \"LISTEN\" }\nmode = \"forward\"\nopen = { env = \"ON\" }\n[forward]\nunmatched = { env = \"WORD\" }\nconnect_ports = { env = \"NUMBERS\" }\n\
         [credentials.a]\ntoken_endpoint = { env = \"URL\" }\nclient_id = { env = \"ID\" }\nclient_secret = { env = \"SECRET\" }\n\
         scope = { env = \"WORDS\" }\nrefresh_ahead = { env = \"FRACTION\" }\nparameters = { env = { env = \"ID\" }, host = \"${HOST}\" }\n\
         [upstreams.a]\norigin = \"https://${HOST}\"\ncredential = \"a\"\npool = { max = { env = \"NUMBER\" } }\nallow = [{ methods = [\"GET\"], paths = [\"/${ID}/*\"] }]\n",
    );
    assert_eq!(written.forward.unmatched, Unmatched::Pass);
    for read in [plain, tables] {
        // What came of variables may be a secret, and a program beside the proxy does not get to see it.
        assert_eq!(read.variables, ["HOST", "ID", "SECRET"]);
        assert_eq!(read.warnings, []);
        let (variables, variables_read) = (written.variables.clone(), written.variables_read.clone());
        assert_eq!(Config { variables, variables_read, ..read }, written);
    }
}

#[test]
fn what_is_missing_is_a_problem_of_its_own_place_and_no_other() {
    let text = forward(&format!(
        "{CREDENTIAL}[upstreams.a]\norigin = \"https://${{NONE}}\"\ncredential = \"${{NO_CREDENTIAL}}\"\npool = {{ max = \"${{NO_NUMBER}}\" }}\n\
         rewrite = {{ env = \"NOTHING\" }}\n[limits]\ndrain = {{ env = \"BLANK\" }}\n"
    ));
    assert_eq!(
        problems(&text),
        [
            "proxy.toml:9:10: `upstreams.a.origin` names the environment variable NONE, which is not set; set it before attache starts, or write ${NONE:-default}",
            "proxy.toml:10:14: `upstreams.a.credential` names the environment variable NO_CREDENTIAL, which is not set; set it before attache starts, or write ${NO_CREDENTIAL:-default}",
            "proxy.toml:11:16: `upstreams.a.pool.max` names the environment variable NO_NUMBER, which is not set; set it before attache starts, or write ${NO_NUMBER:-default}",
            "proxy.toml:12:11: `upstreams.a.rewrite` names the environment variable NOTHING, which is not set; set it before attache starts, or write \"${NOTHING:-default}\"",
            "proxy.toml:14:9: `limits.drain` names the environment variable BLANK, which is empty; set it before attache starts",
        ]
    );
}

#[test]
fn a_text_that_is_no_value_of_its_key_is_not_shown() {
    let upstream = |rest: &str| forward(&upstream("a", "https://a.test", rest));
    for (rest, remedy) in [
        ("rewrite = \"${PASSWORD}\"\n", "set the variable to true or false"),
        ("rewrite = { env = \"PASSWORD\" }\n", "set the variable to true or false"),
        ("requests_per_second = \"${PASSWORD}\"\n", "set the variable to a whole number from 1 to 4294967295"),
        ("http = \"${PASSWORD}\"\n", "set the variable to \"upgrade\" or \"refuse\""),
    ] {
        let found = problems(&upstream(rest));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].ends_with(&format!("has a text from the environment that means nothing here; {remedy}")),
            "{found:#?}"
        );
        assert!(!found[0].contains("tinel"), "{found:#?}");
    }
    // Only what comes from the environment is read from its text.
    assert!(problems(&upstream("rewrite = \"true\"\n"))[0].contains("is a string, not a boolean"));
}

#[test]
fn any_other_brace_behind_a_dollar_sign_is_a_problem_that_repeats_nothing() {
    for text in ["sentinel${", "${sentinel", "${sentinel-x}", "${}", "${A:-${B}}"] {
        for line in [format!("audience = \"{text}\""), format!("client_secret = \"{text}\"")] {
            let found = problems(&with_credential(&line));
            let of: Vec<&String> =
                found.iter().filter(|line| line.contains("write ${NAME} or ${NAME:-default}, or $${")).collect();
            assert!(of.len() == 1 && found.iter().all(|line| !line.contains("sentinel")), "{found:#?}");
        }
    }
}

#[test]
fn a_secret_that_is_a_variable_is_read_from_there() {
    let sources = |written: &str| {
        let read = right(&with_credential(&format!("client_secret = {written}")));
        assert!(!format!("{read:?}").contains("sentinel"));
        let secrets = read.credentials[0].oauth().unwrap().client_auth.secrets().unwrap().sources().to_vec();
        (secrets, read.variables, read.warnings.len())
    };
    let env = |name: &str| SecretSource::Env(name.into());
    assert_eq!(sources("\"${SECRET}\""), (vec![env("SECRET")], vec!["SECRET".to_owned()], 0));
    assert_eq!(sources("\"${SECRET:-x}\""), (vec![env("SECRET")], vec!["SECRET".to_owned()], 0));
    let (secrets, variables, warnings) = sources("\"v1-${SECRET}\"");
    assert!(matches!(secrets.as_slice(), [SecretSource::Literal(_)]), "{secrets:?}");
    assert_eq!(secrets[0].read().unwrap().expose(), "v1-sentinel");
    assert_eq!((variables, warnings), (vec!["SECRET".to_owned()], 0));
    let (secrets, _, warnings) = sources("\"${NONE:-sent}\"");
    assert!(
        matches!(secrets.as_slice(), [SecretSource::Literal(_)]) && warnings == 1,
        "a default is written into the file"
    );
    let (secrets, ..) = sources("[\"${SECRET}\", { file = \"${NONE:-none}/secret\" }]");
    assert_eq!(secrets, [env("SECRET"), SecretSource::File("none/secret".into())]);
    let (secrets, variables, _) = sources("{ command = [\"sh\", \"-c\", \"echo $${X} ${HOST}\"] }");
    let [SecretSource::Command { argv, .. }] = secrets.as_slice() else { panic!("{secrets:?}") };
    assert_eq!((argv[2].as_str(), variables), ("echo ${X} api.test", vec!["HOST".to_owned()]));
    assert_eq!(
        problems(&with_credential("client_secret = \"${NONE}\"")),
        ["proxy.toml:10:17: `credentials.a.client_secret.env` names the environment variable NONE, which is not set; \
          set it before attache starts, or write { file = \"path\" }"]
    );
    assert!(
        problems(&with_credential("client_secret = \"v1-${NONE}\""))[0]
            .contains("names the environment variable NONE, which is not set; ")
    );
}

#[test]
fn a_dollar_sign_that_is_meant_is_written_twice() {
    let read = config(&with_credential("client_secret = { env = \"SECRET\" }\naudience = \"$${ID} costs 5$$ or $5\""));
    assert_eq!(read.credentials[0].oauth().unwrap().audience.as_deref(), Some("${ID} costs 5$ or $5"));
    assert_eq!(read.warnings, []);
}

#[test]
fn what_is_known_from_elsewhere_is_warned_of_and_stays() {
    let of = |line: &str| warnings(&with_credential(line));
    assert_eq!(
        of("client_secret = \"$ORDERS_SECRET\""),
        [
            "`credentials.a.client_secret` is a dollar sign and a name, and is taken as it is; write { env = \"NAME\" } with the name of the variable"
        ]
    );
    assert_eq!(
        of("client_secret = \"env:ORDERS_SECRET\""),
        [
            "`credentials.a.client_secret` begins with \"env:\", which means nothing here and stays as it is; write { env = \"NAME\" } with the name of the variable"
        ]
    );
    assert_eq!(
        of("client_secret = \"op://vault/item/secret\""),
        [
            "`credentials.a.client_secret` begins with \"op://\", which means nothing here and stays as it is; write { command = [\"op\", \"read\", \"op://…\"] }"
        ]
    );
    assert_eq!(
        of("client_secret = { env = \"SECRET\" }\naudience = \"https://$HOST/\""),
        [
            "`credentials.a.audience` has $HOST, which stays as it is: without braces nothing is put in its place; write ${HOST}, or $$HOST if the dollar sign is meant"
        ]
    );
    assert_eq!(of("client_secret = { command = [\"op\", \"read\", \"op://vault/item/secret\"] }"), [""; 0]);
}
