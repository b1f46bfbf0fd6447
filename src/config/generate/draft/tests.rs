//! Drafts, answered and not.

use super::*;
use crate::config::generate::starter::STARTER;
use crate::config::tables::credentials::preset::PROVIDERS;

#[test]
fn the_open_questions_are_the_marked_values() {
    let keys = |provider| Draft::new(provider).questions().into_iter().map(|question| question.key).collect::<Vec<_>>();
    assert_eq!(keys(None), ["token_endpoint", "client_id", "scope", "audience", "origin"]);
    assert_eq!(keys(Some(Provider::Entra)), ["tenant", "client_id", "scope", "origin"]);
    assert_eq!(keys(Some(Provider::Google)), ["client_id", "scope", "origin"]);
    assert_eq!(keys(Some(Provider::Paypal)), ["environment", "client_id", "origin"]);
    assert_eq!(keys(Some(Provider::Okta)), ["domain", "authorization_server", "client_id", "scope", "origin"]);
    let question = Draft::new(None).questions().remove(0);
    assert_eq!((question.table, question.about.as_str()), ("credentials", "the URL that issues tokens"));
    assert_eq!(question.enter, Enter::Example("https://login.example.com/oauth2/token".into()));
}

#[test]
fn a_draft_without_answers_is_the_starter() {
    assert_eq!(Draft::new(None).text(), STARTER);
    for (name, provider) in PROVIDERS {
        let draft = Draft::new(Some(provider));
        draft.check().unwrap();
        // The comments may speak of the provider's own origin.
        let keys = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        assert_eq!(keys(&draft.text()), keys(&starter(Some(provider)).to_string()), "{name}");
    }
}

#[test]
fn answers_take_the_place_of_the_examples_also_in_the_comments() {
    let mut draft = Draft::new(None);
    draft.answer("credentials", "issuer", "https://id.test");
    draft.answer("credentials", "client_id", "a \"b\"");
    draft.answer("credentials", "scope", "read write");
    draft.answer("credentials", "resource", "https://r.test");
    draft.answer("upstreams", "origin", "https://api.things.test:8443");
    draft.answer_secret(&SecretPlace::File("things.secret".into()));
    draft.answer_address("127.0.0.1:3128");
    assert_eq!(draft.name(), "things");
    draft.answer_name("things");
    draft.check().unwrap();
    assert!(!draft.has_examples());
    let text = draft.text();
    for shown in [
        "\n[credentials.things]\n",
        "\nissuer         = \"https://id.test\"                             # the token endpoint is looked up there\n",
        "\nclient_secret  = { file = \"things.secret\" }\n",
        "\nscope          = \"read write\"\n",
        "\nresource       = \"https://r.test\"\n",
        "\ncredential = \"things\"\n",
        "\n#upstream = \"things\"\n",
        "#   (put the client's secret into things.secret)\n",
        " Written by `attache init`. Now:\n",
        "curl --proxy http://127.0.0.1:3128 http://api.things.test:8443/\n",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    for gone in ["orders", "ORDERS", "8080", "<--"] {
        assert!(!text.replace("orders.read", "").contains(gone), "{gone}: {text}");
    }
}

#[test]
fn an_answer_that_check_would_refuse_is_refused_without_a_line() {
    let mut draft = Draft::new(None);
    draft.answer("credentials", "token_endpoint", "http://login.test/token");
    draft.answer("upstreams", "origin", "things.test");
    let errors = draft.check().unwrap_err();
    assert_eq!(errors.problems.len(), 2, "{errors}");
    assert!(errors.to_string().starts_with("the answers: `token_endpoint` is plain http"), "{errors}");
}

#[test]
fn the_next_steps_name_the_file_and_where_the_secret_is() {
    let mut draft = Draft::new(None);
    draft.in_file(Path::new("/etc/my attache/p.toml"));
    draft.answer_name("3-things");
    let [secret, check, run] = draft.steps().map(|(command, _)| command);
    assert_eq!(secret, "export CLIENT_SECRET_3_THINGS='…'");
    assert_eq!(check, "attache check --live --config '/etc/my attache/p.toml'");
    assert_eq!(run, "attache run --config '/etc/my attache/p.toml'");
    assert!(draft.text().contains("#   attache run --config '/etc/my attache/p.toml'\n"), "{}", draft.text());
    let mut draft = Draft::new(Some(Provider::Google));
    draft.answer_secret(&SecretPlace::File("key.json".into()));
    assert!(draft.text().contains("#   (put the key file of the service account at key.json)\n"), "{}", draft.text());
}

#[test]
fn a_preset_with_another_environment_has_its_origin() {
    let mut draft = Draft::new(Some(Provider::Paypal));
    draft.answer("credentials", "environment", "live");
    assert!(draft.text().contains("= \"https://api-m.paypal.com\""), "{}", draft.text());
    // What is only likely stays marked until a person has taken it.
    let mut draft = Draft::new(Some(Provider::Auth0));
    draft.answer("credentials", "audience", "https://api.things.test/");
    let text = draft.text();
    assert!(text.contains("= \"https://api.things.test\"") && text.contains("   # <-- the API: "), "{text}");
    draft.answer("credentials", "scope", "read");
    assert!(draft.text().contains("\nscope         = \"read\"\n"), "{}", draft.text());
}
