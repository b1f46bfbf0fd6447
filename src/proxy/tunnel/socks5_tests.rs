//! Conversations in SOCKS 5, byte by byte.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

const OPEN: &[u8] = &[5, 1, 0];
const WITH_PASSWORD: &[u8] = &[5, 1, 2];

/// What came of a conversation whose caller says all of this at once: the result, what was answered, and what was left unread.
async fn converse(said: &[u8], required: bool) -> (Result<Request, SocksError>, Vec<u8>, Vec<u8>) {
    let (mut caller, mut ours) = duplex(4096);
    caller.write_all(said).await.unwrap();
    caller.shutdown().await.unwrap();
    let result = greet(&mut ours, required, |name, password| name == "me" && password == b"sentinel").await;
    let mut unread = Vec::new();
    ours.read_to_end(&mut unread).await.unwrap();
    drop(ours);
    let mut answered = Vec::new();
    caller.read_to_end(&mut answered).await.unwrap();
    (result, answered, unread)
}

fn login(name: &[u8], password: &[u8]) -> Vec<u8> {
    let counted = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    [vec![1], counted(name), counted(password)].concat()
}

fn to_name(name: &[u8], port: u16) -> Vec<u8> {
    [&[5, 1, 0, 3, u8::try_from(name.len()).unwrap()], name, &port.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_caller_names_a_host_in_three_ways() {
    let four = vec![5, 1, 0, 1, 192, 0, 2, 7, 0x1f, 0x90];
    let six = [&[5, 1, 0, 4][..], &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &[1, 187]].concat();
    for (request, host, port) in [
        (to_name(b"api.test", 443), "api.test", 443),
        (to_name(b"::1", 80), "::1", 80),
        (four, "192.0.2.7", 8080),
        (six, "[2001:db8::1]", 443),
    ] {
        let (result, answered, unread) = converse(&[OPEN, &request, b"early"].concat(), false).await;
        assert_eq!(result.unwrap(), Request { host: host.into(), port, caller: None });
        assert_eq!(answered, [5, 0], "the answer to the request is given later");
        assert_eq!(unread, b"early", "what comes behind the request is for the other side");
    }
}

#[tokio::test]
async fn a_password_is_asked_for_where_one_is_required() {
    let request = to_name(b"api.test", 443);
    let both = [5, 2, 0, 2];
    let (result, answered, _) = converse(&[&both[..], &login(b"me", b"sentinel"), &request].concat(), true).await;
    assert_eq!(result.unwrap().caller.as_deref(), Some("me"));
    assert_eq!(answered, [5, 2, 1, 0]);
    for (name, password) in
        [(&b"me"[..], &b"wrong"[..]), (b"you", b"sentinel"), (b"", b""), (b"me", b""), (b"\xff\xfe", b"sentinel")]
    {
        let (result, answered, _) = converse(&[WITH_PASSWORD, &login(name, password), &request].concat(), true).await;
        assert!(matches!(result, Err(SocksError::NotAuthenticated)), "{name:?}");
        assert_eq!(answered, [5, 2, 1, 1], "{name:?}");
    }
}

#[tokio::test]
async fn nobody_gets_past_a_required_password_by_not_offering_one() {
    for offered in [&[5, 1, 0][..], &[5, 0], &[5, 2, 0, 1], &[5, 1, 0xff]] {
        let (result, answered, _) = converse(&[offered, &to_name(b"api.test", 443)].concat(), true).await;
        assert!(matches!(result, Err(SocksError::NoAcceptableMethod)), "{offered:?}");
        assert_eq!(answered, [5, 0xff]);
    }
}

#[tokio::test]
async fn a_caller_that_insists_on_a_password_is_served_where_none_is_needed() {
    let said = [WITH_PASSWORD, &login(b"anybody", b"anything"), &to_name(b"api.test", 443)].concat();
    let (result, answered, _) = converse(&said, false).await;
    assert_eq!(result.unwrap().caller, None, "what nobody has checked proves nothing");
    assert_eq!(answered, [5, 2, 1, 0]);
    let (result, answered, _) = converse(&[5, 1, 3], false).await;
    assert!(matches!(result, Err(SocksError::NoAcceptableMethod)));
    assert_eq!(answered, [5, 0xff]);
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_its_code() {
    for (request, code) in [
        (vec![5, 2, 0, 1, 0, 0, 0, 0, 0, 80], 7),
        (vec![5, 3, 0, 1, 0, 0, 0, 0, 0, 80], 7),
        (vec![5, 1, 0, 2, 0, 0, 0, 0, 0, 80], 8),
        (vec![4, 1, 0, 1, 0, 0, 0, 0, 0, 80], 1),
        (to_name(b"api.test", 0), 4),
        (to_name(b"", 443), 4),
        (to_name(b"a b", 443), 4),
        (to_name(b"a\0.test", 443), 4),
        (to_name(b"user@api.test", 443), 4),
        (to_name(b"api.test/x", 443), 4),
        (to_name(b"api.test\r\nX: y", 443), 4),
        (to_name("b\u{fc}cher.test".as_bytes(), 443), 4),
    ] {
        let (result, answered, _) = converse(&[OPEN, &request].concat(), false).await;
        assert!(result.is_err(), "{request:?}");
        assert_eq!(answered, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{request:?}");
    }
}

#[tokio::test]
async fn other_protocols_are_told_apart_and_get_no_answer() {
    for (said, sentence) in [
        (&b"GET http://api.test/ HTTP/1.1\r\n\r\n"[..], "speaks HTTP"),
        (b"CONNECT api.test:443 HTTP/1.1\r\n\r\n", "speaks HTTP"),
        (&[4, 1, 0, 80, 127, 0, 0, 1, 0], "SOCKS 4"),
        (&[0x16, 3, 1], "not SOCKS 5"),
    ] {
        let (result, answered, _) = converse(said, false).await;
        let error = result.unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
        assert_eq!(answered, b"");
    }
}

#[tokio::test]
async fn a_caller_that_breaks_off_is_no_request() {
    let whole = [&[5, 2, 0, 2][..], &login(b"me", b"sentinel"), &to_name(b"api.test", 443)].concat();
    for length in 0..whole.len() {
        let (result, ..) = converse(&whole[..length], true).await;
        assert!(matches!(result, Err(SocksError::Io(_))), "{length}");
    }
}

#[tokio::test]
async fn no_error_tells_a_password() {
    let (result, ..) = converse(&[WITH_PASSWORD, &login(b"sentinel", b"sentinel")].concat(), true).await;
    let error = result.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("sentinel"));
}

#[tokio::test]
async fn every_answer_has_its_code() {
    for (answer, code) in [
        (Reply::Succeeded, 0),
        (Reply::GeneralFailure, 1),
        (Reply::NotAllowed, 2),
        (Reply::NetworkUnreachable, 3),
        (Reply::HostUnreachable, 4),
        (Reply::ConnectionRefused, 5),
        (Reply::CommandNotSupported, 7),
        (Reply::AddressNotSupported, 8),
    ] {
        let (mut caller, mut ours) = duplex(64);
        reply(&mut ours, answer).await.unwrap();
        let mut said = [0; 10];
        caller.read_exact(&mut said).await.unwrap();
        assert_eq!(said, [5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{answer:?}");
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn whatever_a_caller_says_is_read_to_an_end(said in proptest::collection::vec(any::<u8>(), 0..600), required: bool) {
        run(converse(&said, required)).0.ok();
    }

    /// As above, past the greeting.
    #[test]
    fn whatever_a_caller_asks_for_is_a_host_and_port_or_an_error(
        rest in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_u8..6, command in 0_u8..4,
    ) {
        let (result, answered, _) = run(converse(&[OPEN, &[5, command, 0, kind], &rest].concat(), false));
        if let Ok(request) = result {
            prop_assert!(command == 1 && request.port > 0 && is_plain(&request.host));
            prop_assert!(request.host.len() <= 255);
        }
        prop_assert!(answered.len() <= 12);
    }

    #[test]
    fn however_it_is_cut_the_request_is_the_same(name in "[a-z0-9.-]{1,255}", port in 1_u16.., cut in 1_usize..7) {
        let said = [OPEN, &to_name(name.as_bytes(), port)].concat();
        let read = run(async {
            // One piece has to be taken before the next fits.
            let (caller, mut ours) = duplex(cut);
            let (mut hears, mut says) = tokio::io::split(caller);
            let mut greeting = [0; 2];
            let (read, spoken, heard) = tokio::join!(
                greet(&mut ours, false, |_, _| false), says.write_all(&said), hears.read_exact(&mut greeting)
            );
            spoken.unwrap();
            heard.unwrap();
            read
        });
        prop_assert_eq!(read.unwrap(), Request { host: name, port, caller: None });
    }
}
