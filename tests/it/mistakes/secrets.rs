//! Mistakes about where the secret is. Its value is in no message.

use std::os::unix::fs::PermissionsExt as _;

use super::scene::{Mistakes, RIGHT, folder};

const ENV: &str = "{ env = \"SECRET\" }";

#[tokio::test]
async fn a_secret_that_is_not_where_it_is_said_to_be_is_named_by_its_place() {
    let mut mistakes = Mistakes::of("secrets");
    for (name, wrong) in [
        ("variable_not_set", "{ env = \"ORDERS_SECRET\" }"),
        ("file_not_there", "{ file = \"orders.secret\" }"),
        ("file_in_the_home_directory", "{ file = \"~/orders.secret\" }"),
        ("secret_in_the_file", "\"s3cr3t-Q.vZ8\""),
        ("secret_as_a_variables_name", "{ env = \"s3cr3t-Q.vZ8\" }"),
        ("dollar_name", "\"$SECRET\""),
        ("dollar_name_in_braces_not_set", "\"${ORDERS_SECRET}\""),
        ("env_colon_name", "\"env:SECRET\""),
        ("reference_of_a_vault", "\"op://vault/orders/secret\""),
        ("two_places_at_once", "{ env = \"SECRET\", file = \"orders.secret\" }"),
        ("unknown_place", "{ vault = \"orders\" }"),
        ("command_as_text", "{ command = \"pass orders\" }"),
        ("empty_text", "\"\""),
    ] {
        mistakes.line(name, ENV, wrong).await;
    }
    mistakes.line("dollar_name_as_client_id", "\"orders-batch\"", "\"$CLIENT_ID\"").await;
    for (name, content) in [
        ("file_with_blanks", " s3cr3t \n"),
        ("file_with_quotes", "\"s3cr3t\"\n"),
        ("file_with_a_name_before_it", "CLIENT_SECRET=s3cr3t\n"),
        ("file_that_is_empty", "\n"),
        ("file_with_a_byte_order_mark", "\u{feff}s3cr3t\r\n"),
    ] {
        let folder = with_file(content, 0o600);
        mistakes.command(name, &folder, &["check"]).await;
    }
    let open = with_file("s3cr3t\n", 0o644);
    // A temporary folder is for its owner alone, and so is what is in it.
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    mistakes.command("file_for_all_to_read", &open, &["check"]).await;
    let folder = folder(RIGHT).env("SECRET", "s3cr3t\n");
    mistakes.command("variable_with_a_line_end", &folder, &["check"]).await;
    let folder = super::scene::folder(RIGHT).env("SECRET", "");
    mistakes.command("variable_that_is_empty", &folder, &["check"]).await;
    mistakes.finish();
}

fn with_file(content: &str, mode: u32) -> crate::support::Folder {
    let folder = folder(&RIGHT.replacen(ENV, "{ file = \"orders.secret\" }", 1));
    folder.write("orders.secret", content);
    let path = folder.path().join("orders.secret");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    folder
}
