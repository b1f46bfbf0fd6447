//! WebSocket by a real client and a real server that know nothing of each other's proxy: every kind of message that RFC 6455
//! has, through absolute-form requests and opened tunnels. The token is on the handshake.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::clients::{World, python, there_is};
use crate::support::{Reply, Scripted};

/// Echoes messages, after a handshake with a token.
const SERVER: &str = r#"
import asyncio, http
from websockets.asyncio.server import serve
def check(connection, request):
    if not request.headers.get("Authorization", "").startswith("Bearer token-"):
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no token")
async def echo(ws):
    async for message in ws:
        if message == "close 4001":
            await ws.close(4001, "as asked")
            return
        await ws.send(message)
async def main():
    async with serve(echo, "127.0.0.1", 0, process_request=check, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()
asyncio.run(main())
"#;

/// The cases that a conformance suite runs against a relay: lengths around each form of the length field, text and binary,
/// fragments with a ping between them, UTF-8 cut within a character, close codes, compression on and off, 1009 lines at once.
const CLIENT: &str = r#"
import asyncio, sys, os
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
async def cases(url, compression):
    async with connect(url, compression=compression, max_size=None) as ws:
        for n in (0, 1, 125, 126, 127, 65535, 65536, 1_000_000):
            for message in ("x" * n, os.urandom(n)):
                await ws.send(message)
                assert await ws.recv() == message, n
        await ws.send("\u00fc\U0001f511" * 5000)
        assert await ws.recv() == "\u00fc\U0001f511" * 5000
        async def pieces():
            yield "one "
            yield "two \u00fc"
            await (await ws.ping(b"between"))
            yield ""
            yield "three"
        await ws.send(pieces())
        assert await ws.recv() == "one two \u00fcthree"
        async def halves():
            text = "\U0001f511".encode()
            yield text[:2]
            yield text[2:]
        await ws.send(halves())
        assert await ws.recv() == "\U0001f511".encode()
        await (await ws.ping(b"p" * 125))
        for n in range(1009):
            await ws.send(str(n))
        for n in range(1009):
            assert await ws.recv() == str(n)
        await ws.send("close 4001")
        try:
            await ws.recv()
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as asked"), closed
    async with connect(url, compression=compression) as ws:
        await ws.close(1000, "done")
        assert ws.close_code == 1000
async def main():
    for compression in (None, "deflate"):
        await asyncio.wait_for(cases(sys.argv[1], compression), 60)
    print("all cases passed")
asyncio.run(main())
"#;

/// With what the server needs; without it that is said.
pub(crate) fn python_of_the_tests() -> Option<String> {
    let python = python();
    there_is(&python, &["-c", "import websockets.asyncio.client"]).then_some(python)
}

pub(crate) async fn server(python: &str) -> (Child, u16) {
    let mut child =
        Command::new(python).args(["-c", SERVER]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let port = line.trim().parse().unwrap();
    (child, port)
}

#[tokio::test]
async fn python_websockets_with_every_kind_of_message() {
    let Some(python) = python_of_the_tests() else { return };
    let (_server, port) = server(&python).await;
    let world = World::around(Scripted::start(|_, _| Reply::ok("")).await, ([127, 0, 0, 1], port).into()).await;
    for scheme in ["ws", "wss"] {
        let finished = world.run(&[&python, "-c", CLIENT, &format!("{scheme}://api.test/chat")]).await;
        assert_eq!(finished.stdout.trim(), "all cases passed", "{scheme}: {finished:?}");
    }
}
