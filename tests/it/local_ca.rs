//! `attache ca`: what it makes, and that other programs agree about it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::{Folder, LocalCa};

const TOML: &str = "[listeners.proxy]\naddress = \"127.0.0.1:0\"\nmode = \"forward\"\n\
    [intercept]\nca_certificate = \"ca/ca.pem\"\nca_key = \"ca/ca.key\"\n\
    [credentials.key]\nkind = \"bearer\"\ntoken = { env = \"TOKEN\" }\n\
    [upstreams.api]\norigin = \"https://api.test\"\ncredential = \"key\"\n";

fn mode(folder: &Folder, file: &str) -> u32 {
    std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_ca_is_made_where_the_configuration_says_and_never_over_another() {
    let folder = Folder::with(TOML);
    assert_eq!(folder.run(&["check"]).await.code, Some(78), "neither the files nor the secret are there");
    let made = folder.run(&["ca", "init"]).await;
    assert_eq!((made.code, made.stdout.as_str()), (Some(0), ""), "{made:?}");
    assert!(made.stderr.contains("update-ca-certificates") && !made.stderr.contains("Add to"), "{made:?}");
    assert_eq!((mode(&folder, "ca/ca.key"), mode(&folder, "ca")), (0o600, 0o700));
    let before = folder.read("ca/ca.key");
    let again = folder.run(&["ca", "init"]).await;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("is there already and stays as it is"), "{again:?}");
    assert_eq!(folder.read("ca/ca.key"), before);
    let folder = folder.env("TOKEN", "abc");
    assert_eq!(folder.run(&["check"]).await.code, Some(0));
    let tunnel = folder.run(&["explain", "CONNECT", "api.test:443", "--json"]).await;
    assert_eq!(tunnel.json()["outcome"], "intercept_and_inject", "{tunnel:?}");
    assert_eq!((&tunnel.json()["upstream"], &tunnel.json()["credential"]), (&"api".into(), &"key".into()));
    std::fs::set_permissions(folder.path().join("ca/ca.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = folder.run(&["check"]).await;
    assert_eq!(refused.code, Some(78));
    assert!(refused.stderr.contains("proxy.toml:6:10: `intercept.ca_key` can be read by other users"), "{refused:?}");
    assert!(refused.stderr.trim_end().ends_with("ca.key"), "the file is named: {refused:?}");
}

#[tokio::test]
async fn without_a_configuration_a_folder_will_do() {
    let folder = Folder::new();
    let made = folder.run(&["ca", "init", "--directory", "mine"]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(
        made.stderr.contains("[intercept]\nca_certificate = \"") && made.stderr.contains("mine/ca.pem\""),
        "{made:?}"
    );
    assert_eq!(mode(&folder, "mine/ca.key"), 0o600);
    let nothing = folder.run(&["ca", "init"]).await;
    assert_eq!(nothing.code, Some(78));
    assert!(nothing.stderr.contains("or a folder with --directory"), "{nothing:?}");
    // What has been made and is not named yet is found, and not sent round in a circle.
    folder.write("proxy.toml", "");
    let shown = folder.run(&["ca", "show"]).await;
    assert!(shown.code == Some(1) && shown.stderr.contains("make a CA with `attache ca init"), "{shown:?}");
    assert_eq!(folder.run(&["ca", "init"]).await.code, Some(0));
    let shown = folder.run(&["ca", "show"]).await;
    assert!(
        shown.code == Some(1) && shown.stderr.contains("add [intercept] with ca_certificate = \"ca.pem\""),
        "{shown:?}"
    );
}

#[tokio::test]
async fn what_is_shown_is_what_openssl_shows() {
    let folder = Folder::with(TOML);
    assert_eq!(folder.run(&["ca", "init", "--constrain"]).await.code, Some(0));
    let shown = folder.run(&["ca", "show", "--json"]).await.json();
    assert_eq!(shown["constrained_to"], serde_json::json!(["api.test"]));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(folder.path()).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let told = openssl(&["x509", "-in", "ca/ca.pem", "-noout", "-fingerprint", "-sha256", "-text"]);
    assert!(told.contains(shown["fingerprint_sha256"].as_str().unwrap()), "{told}");
    for said in ["CA:TRUE, pathlen:0", "DNS:api.test", "ASN1 OID: prime256v1", "Certificate Sign"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    let der = folder.run(&["ca", "export", "--format", "der", "--output", "ca.der"]).await;
    assert_eq!((der.code, der.stdout.as_str()), (Some(0), ""), "{der:?}");
    let again = ["ca", "export", "--output", "ca.der"];
    let refused = folder.run(&again).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("stays as it is; --force overwrites it"), "{refused:?}");
    assert!(openssl(&["x509", "-inform", "der", "-in", "ca.der", "-noout", "-subject"]).contains("attache local CA"));
    assert_eq!(folder.run(&[&again[..], &["--force"]].concat()).await.code, Some(0));
    let pem = folder.run(&["ca", "export"]).await.stdout;
    assert_eq!(folder.read("ca.der"), pem);
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 1);
    assert!(!pem.contains("PRIVATE"));
    let bundle = folder.run(&["ca", "export", "--bundle"]).await.stdout;
    assert!(bundle.matches("BEGIN CERTIFICATE").count() > 20 && bundle.ends_with(&pem), "the system's and ours");
}

#[test]
fn openssl_takes_a_leaf_for_its_name_alone_and_only_within_the_constraints() {
    let local = LocalCa::constrained(&["api.test"]);
    for (host, fits) in [("api.test", true), ("v1.api.test", true), ("other.test", false), ("8.8.8.8", false)] {
        let verified = local.verified_by_openssl(host);
        assert_eq!(verified.contains(": OK"), fits, "{host}: {verified}");
        if !fits {
            assert!(verified.contains("subtree violation"), "{verified}");
        }
    }
}
