//! Mistakes that only the API shows: `check --live`, and requests.

use crate::support::{TestCa, TlsFront};

use super::scene::{Mistakes, folder};
use super::servers::{answers_anything, granted, nobody, server};

#[tokio::test]
async fn an_api_that_cannot_be_reached_or_trusted_is_told_apart() {
    let mut mistakes = Mistakes::of("upstreams");
    let api = server(|_| granted()).await;
    let ca = TestCa::new();
    let front = TlsFront::start(ca.server(&["localhost"], &["http/1.1"]), api.address()).await;
    let clear = answers_anything().await;
    let (tls, clear, nobody) = (front.address().port(), clear.address().port(), nobody().port());
    for port in [tls, clear, nobody] {
        mistakes.mask(port.to_string(), "PORT");
    }
    // The system's words for it differ.
    for words in ["Name or service not known", "Temporary failure in name resolution"] {
        mistakes.mask(words, "(THE SYSTEM'S WORDS)");
    }
    let ca_file = ca.path().display().to_string();
    mistakes.mask(&ca_file, "CA_FILE");
    for (name, origin) in [
        ("https_to_a_port_in_clear", format!("https://localhost:{clear}")),
        ("certificate_not_trusted", format!("https://localhost:{tls}")),
        ("certificate_of_another_name", format!("https://127.0.0.1:{tls}\"\ntls = {{ ca_file = \"{ca_file}\" }} #")),
        ("nobody_listens", format!("http://127.0.0.1:{nobody}")),
        ("name_that_nobody_knows", "https://orders.example.invalid".to_owned()),
    ] {
        let folder = folder(&format!("[upstreams.orders]\norigin = \"{origin}\"\n"));
        mistakes.command(name, &folder, &["check", "--live"]).await;
    }
    mistakes.finish();
}
