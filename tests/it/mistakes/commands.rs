//! Mistakes on the command line.

use super::scene::{Mistakes, RIGHT, folder};
use super::servers::nobody;

const RUN: [&str; 3] = ["run", "--client-id", "me"];

#[tokio::test]
async fn a_command_that_cannot_be_done_says_what_to_type() {
    let mut mistakes = Mistakes::of("commands");
    let plain = folder(RIGHT);
    for (name, args) in [
        ("command_misspelt", &["chek"][..]),
        ("flag_misspelt", &["check", "--lve"]),
        ("config_without_a_file", &["check", "--config"]),
        ("credential_unknown", &["token", "order"]),
        ("explain_without_a_url", &["explain"]),
        ("explain_without_a_scheme", &["explain", "api.test/v1"]),
        ("explain_a_host_only", &["explain", "api.test"]),
        ("explain_as_a_caller_where_nobody_is_asked", &["explain", "http://orders.example.com/", "--caller", "x"]),
        ("env_in_two_forms", &["env", "--json", "--shell", "fish"]),
        ("exec_without_a_command", &["exec"]),
        ("exec_of_an_unknown_program", &["exec", "--", "no-such-program"]),
        ("env_of_a_free_port", &["env"]),
        ("status_without_admin", &["status"]),
        ("ca_show_without_intercept", &["ca", "show"]),
        ("init_where_a_file_is", &["init"]),
    ] {
        mistakes.command(name, &plain, args).await;
    }

    let admin = nobody();
    mistakes.mask(admin.port().to_string(), "PORT");
    let alone = folder(&format!("{RIGHT}\n[admin]\naddress = \"{admin}\"\n"));
    for (name, args) in [
        ("status_of_nobody", &["status"][..]),
        ("reload_of_nobody", &["reload"]),
        ("refresh_of_nobody", &["refresh", "orders"]),
        ("refresh_of_nobody_without_a_name", &["refresh"]),
    ] {
        mistakes.command(name, &alone, args).await;
    }

    let endpoint = ["--token-endpoint", "https://login.example.com/token"];
    let secret = ["--client-secret-env", "SECRET"];
    let upstream = ["--upstream", "https://orders.example.com"];
    let without_file = crate::support::Folder::new().env("SECRET", "s3cr3t");
    for (name, args) in [
        ("flags_without_upstream", [&RUN[..], &endpoint, &secret].concat()),
        ("flags_without_secret", [&RUN[..], &endpoint, &upstream].concat()),
        ("flags_with_a_variable_not_set", [&RUN[..], &endpoint, &upstream, &["--client-secret-env", "OTHER"]].concat()),
        (
            "flags_with_the_secret_itself",
            [&RUN[..], &endpoint, &upstream, &["--client-secret-env", "s3cr3t-Q"]].concat(),
        ),
        ("flags_with_a_host_only", [&RUN[..], &endpoint, &secret, &["--upstream", "orders.example.com"]].concat()),
        (
            "flags_with_an_endpoint_in_clear",
            [&RUN[..], &upstream, &secret, &["--token-endpoint", "http://login.example.com/token"]].concat(),
        ),
    ] {
        mistakes.command(name, &without_file, &args).await;
    }
    mistakes.finish();
}
