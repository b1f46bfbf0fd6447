//! Whole interviews, with the answers given beforehand.

use super::*;

fn drafted(preset: Option<Provider>, answers: &str) -> Result<String, Failure> {
    interview(preset, &mut answers.as_bytes()).map(|draft| draft.text())
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_whole_interview_leaves_nothing_to_change() {
    let answers =
        "\nhttps://id.test/t/token\nme\nread write\nnone\nhttps://api.things.test\n\nTHE_SECRET\nyes\nlocalhost:3128\n";
    let text = drafted(None, answers).unwrap();
    holds(
        &text,
        &[
            "[upstreams.things]",
            "\"https://id.test/t/token\"",
            "\nscope          = \"read write\"\n",
            "\n#audience",
            "{ env = \"THE_SECRET\" }",
            "\"localhost:3128\"",
        ],
    );
    assert!(!text.contains("<--"), "{text}");
}

#[test]
fn a_wrong_answer_is_asked_for_again_and_an_issuer_is_told_apart() {
    let answers = "wrong\n\nhttp://id.test/token\nhttps://id.test\n\nme\n\n\nnot an origin\nhttps://a.test\nb b\nb\n./the secret\nyes\n\n";
    let text = drafted(None, answers).unwrap();
    holds(
        &text,
        &["issuer         = \"https://id.test\"", "[credentials.b]", "{ file = \"./the secret\" }", "127.0.0.1:8080"],
    );
    // A path that says nothing may be either.
    let text = drafted(None, "\nhttps://id.test/oauth\n\nme\n\n\n\n\n\n\n").unwrap();
    holds(&text, &["token_endpoint = \"https://id.test/oauth\""]);
    let text = drafted(None, "\nhttps://id.test/r/.well-known/openid-configuration\n\nme\n\n\n\n\n\n\n").unwrap();
    holds(&text, &["issuer         = \"https://id.test/r\""]);
}

#[test]
fn an_example_that_is_typed_is_an_answer() {
    let answers = "\nhttps://login.example.com/oauth2/token\norders-batch\n\n\nhttps://orders.example.com\n\n\n\n";
    let text = drafted(None, answers).unwrap();
    assert!(!text.contains("<--"), "{text}");
}

#[test]
fn what_is_not_answered_stays_marked() {
    let text = drafted(Some(Provider::Okta), "\n\n\n\n\n\n\n\n").unwrap();
    assert_eq!(text.matches("# <--").count(), 4, "{text}");
    holds(&text, &["Change the values marked with <--, then:", "authorization_server = \"default\"\n"]);
}

#[test]
fn a_secret_in_the_place_of_its_name_is_never_written() {
    let answers = "\nhttps://id.test/token\nme\n\n\nhttps://a.things.test\n\ns3cr3t~Q.vZ8\n/s3cr3t+base64==\n\n\n\n";
    let text = drafted(None, answers).unwrap();
    holds(&text, &["{ env = \"A_CLIENT_SECRET\" }"]);
    assert!(!text.contains("s3cr3t"), "{text}");
}

#[test]
fn what_may_be_a_short_secret_is_asked_about() {
    let begin = "\nhttps://id.test/token\nme\n\n\nhttps://a.things.test\n\nJBSWY3DPEHPK3PXP\n";
    let text = drafted(None, &format!("{begin}\n\n\n")).unwrap();
    holds(&text, &["{ env = \"A_CLIENT_SECRET\" }"]);
    assert!(!text.contains("JBSWY3DPEHPK3PXP"), "{text}");
    let text = drafted(None, &format!("{begin}yes\n\n")).unwrap();
    holds(&text, &["{ env = \"JBSWY3DPEHPK3PXP\" }"]);
    // The name that is proposed is none.
    let text = drafted(None, &format!("{}A_CLIENT_SECRET\n\n", begin.trim_end_matches("JBSWY3DPEHPK3PXP\n"))).unwrap();
    holds(&text, &["{ env = \"A_CLIENT_SECRET\" }"]);
}

#[test]
fn later_questions_follow_earlier_answers() {
    let text = drafted(Some(Provider::Salesforce), "acme.my.salesforce.com\nme\n\n\n\n\n").unwrap();
    holds(&text, &["= \"https://acme.my.salesforce.com\"", "[upstreams.salesforce]", "SALESFORCE_CLIENT_SECRET"]);
    for (environment, origin) in [("live", "https://api-m.paypal.com"), ("", "https://api-m.sandbox.paypal.com")] {
        let text = drafted(Some(Provider::Paypal), &format!("{environment}\nme\n\n\n\n\n")).unwrap();
        holds(&text, &[&format!("= \"{origin}\""), "[upstreams.paypal]", "PAYPAL_CLIENT_SECRET"]);
        assert!(!text.contains("<--"), "{text}");
    }
    // What is only likely is taken if a person takes it.
    let text = drafted(None, "\nhttps://id.test/token\nme\n\nhttps://api.things.test/v1\n\n\n\n\n").unwrap();
    holds(&text, &["origin     = \"https://api.things.test\"", "[upstreams.things]"]);
    assert!(!text.contains("<--"), "{text}");
}

#[test]
fn answers_that_end_too_early_write_nothing() {
    assert!(
        matches!(drafted(None, "\nhttps://id.test/token\n"), Err(Failure::Failed(message)) if message.contains("nothing is written"))
    );
}
