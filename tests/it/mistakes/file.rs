//! Mistakes in the file itself: TOML, tables and keys, addresses and origins.

use crate::support::Folder;

use super::scene::{Mistakes, RIGHT, folder};

#[tokio::test]
async fn faults_of_toml_are_said_in_words() {
    let mut mistakes = Mistakes::of("toml");
    let mode = "mode = \"forward\"";
    for (name, wrong) in [
        ("no_quotes", "mode = forward"),
        ("one_quote", "mode = \"forward"),
        ("colon", "mode: \"forward\""),
        ("no_equals_sign", "mode \"forward\""),
        ("typographic_quotes", "mode = “forward”"),
        ("single_quotes", "mode = 'froward'"),
        ("key_twice", "mode = \"forward\"\nmode = \"reverse\""),
        ("two_equals_signs", "mode == \"forward\""),
    ] {
        mistakes.line(name, mode, wrong).await;
    }
    mistakes.line("table_not_closed", "[credentials.orders]", "[credentials.orders").await;
    mistakes.line("table_without_brackets", "[credentials.orders]", "credentials.orders").await;
    mistakes.line("table_with_a_blank_in_its_name", "[upstreams.orders]", "[upstreams.my orders]").await;
    mistakes.line("list_not_closed", "client_id", "scope = [\nclient_id").await;
    mistakes.line("inline_table_not_closed", "{ env = \"SECRET\" }", "{").await;
    mistakes.line("table_in_double_brackets", "[upstreams.orders]", "[[upstreams]]\nname = \"orders\"").await;
    mistakes.line("number_without_unit", "mode = \"forward\"", "mode = \"forward\"\n[limits]\ndrain = 30").await;
    mistakes.line("backslash_in_a_path", "{ env = \"SECRET\" }", "{ file = \"C:\\Users\\me\\secret\" }").await;
    mistakes.file("table_twice", &format!("{RIGHT}\n[credentials.orders]\nclient_id = \"other\"\n")).await;
    mistakes.file("empty", "").await;
    mistakes.file("comments_only", "# everything is commented out\n#[listeners.proxy]\n").await;
    mistakes.file("yaml", "listeners:\n  proxy:\n    address: 127.0.0.1:8080\n").await;
    mistakes.file("json", "{ \"listeners\": { \"proxy\": { \"address\": \"127.0.0.1:8080\" } } }\n").await;
    mistakes.file("windows_line_ends_and_byte_order_mark", &format!("\u{feff}{}", RIGHT.replace('\n', "\r\n"))).await;
    mistakes.file("several_at_once", &several_at_once()).await;
    mistakes.finish();
}

fn several_at_once() -> String {
    RIGHT.replace("mode = ", "mod = ").replace("client_id", "clientid").replace("\"orders\"\n", "\"order\"\n")
}

#[tokio::test]
async fn what_is_no_configuration_file_is_told_apart() {
    let mut mistakes = Mistakes::of("not_a_file");
    mistakes.command("missing", &Folder::new(), &["check"]).await;
    mistakes.command("missing_elsewhere", &Folder::new(), &["check", "--config", "conf/attache.toml"]).await;
    let taken = Folder::new();
    std::fs::create_dir(taken.path().join("conf")).unwrap();
    mistakes.command("folder", &taken, &["check", "--config", "conf"]).await;
    let random = Folder::new();
    std::fs::write(random.path().join("random.toml"), [0x93, 0x00, 0xff, 0x10, 0xfe, b'\n', 0x80]).unwrap();
    mistakes.command("binary", &random, &["check", "--config", "random.toml"]).await;
    // `attache schema > x` in an old PowerShell, or "Unicode" in an editor.
    let wide = Folder::new();
    let utf_16: Vec<u8> = format!("\u{feff}{RIGHT}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(wide.path().join("wide.toml"), utf_16).unwrap();
    mistakes.command("utf_16", &wide, &["check", "--config", "wide.toml"]).await;
    mistakes.finish();
}

#[tokio::test]
async fn tables_and_keys_that_are_not_known_have_a_nearest_one() {
    let mut mistakes = Mistakes::of("keys");
    mistakes.line("table_in_the_singular", "[upstreams.orders]", "[upstream.orders]").await;
    mistakes.line("key_misspelt", "client_id", "clientid").await;
    mistakes.line("key_of_another_table", "origin = ", "client_auth = \"none\"\norigin = ").await;
    mistakes.line("key_unknown", "origin = ", "url = ").await;
    mistakes.line("word_misspelt", "\"forward\"", "\"froward\"").await;
    mistakes.line("credential_unknown", "credential = \"orders\"", "credential = \"order\"").await;
    mistakes.line("upstream_without_a_name", "[upstreams.orders]", "[upstreams]").await;
    mistakes.line("endpoint_missing", "token_endpoint = \"https://login.example.com/token\"\n", "").await;
    mistakes.line("secret_missing", "client_secret = { env = \"SECRET\" }\n", "").await;
    mistakes.line("endpoint_and_issuer", "client_id", "issuer = \"https://login.example.com\"\nclient_id").await;
    mistakes.line("scopes_with_commas", "client_id", "scope = \"read,write\"\nclient_id").await;
    mistakes.line("credential_unused", "credential = \"orders\"\n", "").await;
    mistakes
        .file(
            "upstreams_of_one_origin",
            &format!("{RIGHT}\n[upstreams.more]\norigin = \"https://orders.example.com\"\n"),
        )
        .await;
    mistakes.finish();
}

#[tokio::test]
async fn addresses_and_origins_that_are_none_are_told_what_they_lack() {
    let mut mistakes = Mistakes::of("addresses");
    let origin = "https://orders.example.com";
    for (name, wrong) in [
        ("origin_with_a_path", "https://orders.example.com/v1"),
        ("origin_without_scheme", "orders.example.com"),
        ("origin_of_another_scheme", "htps://orders.example.com"),
        ("origin_in_clear", "http://orders.example.com"),
        ("origin_ipv6_without_brackets", "https://2001:db8::1"),
        ("origin_with_umlauts", "https://bücher.example"),
        ("origin_with_a_blank", "https://orders example.com"),
        ("origin_with_a_password", "https://me:pass@orders.example.com"),
        ("wildcard_of_a_whole_domain", "https://*.com"),
        ("wildcard_in_a_label", "https://api-*.example.com"),
        ("origin_port_too_large", "https://orders.example.com:84430"),
    ] {
        mistakes.line(name, origin, wrong).await;
    }
    for (name, wrong) in [
        ("address_open_to_all", "0.0.0.0:8080"),
        ("address_without_port", "127.0.0.1"),
        ("address_port_only", "8080"),
        ("address_url", "http://127.0.0.1:8080"),
        ("address_ipv6_without_brackets", "::1:8080"),
    ] {
        mistakes.line(name, "127.0.0.1:0", wrong).await;
    }
    for (name, wrong) in
        [("connect_with_a_scheme", "https://127.0.0.1:1"), ("connect_port_too_large", "127.0.0.1:297000")]
    {
        mistakes.line(name, "origin = ", &format!("connect = \"{wrong}\"\norigin = ")).await;
    }
    let metadata = "issuer = \"https://login.example.com/.well-known/openid-configuration\"";
    mistakes.line("issuer_of_metadata", "token_endpoint = \"https://login.example.com/token\"", metadata).await;
    let metadata = "https://login.example.com/.well-known/openid-configuration";
    mistakes.line("endpoint_of_metadata", "https://login.example.com/token", metadata).await;
    mistakes.line("endpoint_in_clear", "https://login.example.com/token", "http://login.example.com/token").await;
    mistakes.line("endpoint_without_scheme", "https://login.example.com/token", "login.example.com/token").await;

    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    mistakes.mask(address.port().to_string(), "PORT");
    let taken = folder(&RIGHT.replacen("127.0.0.1:0", &address.to_string(), 1));
    mistakes.command("port_in_use", &taken, &["run"]).await;
    mistakes.finish();
}
