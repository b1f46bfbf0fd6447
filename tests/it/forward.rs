//! Ways 1 and 2: a forward proxy in absolute-form.

use crate::support::{Reply, Scripted, TestProxy, TokenServer, get};

#[tokio::test]
async fn a_request_in_absolute_form_leaves_with_a_token() {
    let tokens = TokenServer::start().await;
    let api = Scripted::start(|_, _| Reply::ok("fine")).await;
    let proxy = TestProxy::start(&format!(
        r#"
[listeners.proxy]
address = "127.0.0.1:0"
mode = "forward"
[credentials.api]
token_endpoint = "{}"
client_id = "me"
client_secret = "s3cret"
[upstreams.api]
origin = "{}"
credential = "api"
"#,
        tokens.endpoint(),
        api.origin()
    ));
    let host = api.address().to_string();
    let answer = get(proxy.address("proxy"), &host, &format!("http://{host}/x?y=1")).await;
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    let asked = &api.asked()[0];
    assert_eq!(asked.line, "GET /x?y=1 HTTP/1.1");
    assert_eq!(asked.field("authorization"), Some("Bearer token-1"));
    assert_eq!(asked.field("host"), Some(host.as_str()));
}
