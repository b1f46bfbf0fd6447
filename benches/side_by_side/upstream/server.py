"""The upstream and the token endpoint where there is no nginx. A program of its own, started with
PORT TOKEN_PORT TOKEN [TLS_PORT CERTIFICATE KEY]."""

import asyncio
import ssl
import sys

SMALL = b"x" * 1024
LARGE = b"x" * 1024 * 1024


class Api(asyncio.Protocol):
    """HTTP/1.1 with keep-alive. It trusts its callers to frame messages rightly: they are the proxies that are measured."""

    token = b""

    def __init__(self) -> None:
        self.received, self.head, self.unread = b"", b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.unread:
            skipped = min(self.unread, len(data))
            self.unread, data = self.unread - skipped, data[skipped:]
            if self.unread:
                return
            self.answer(self.head)
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            self.head, body = self.received[:end], self.received[end + 4 :]
            self.received = b""
            length = int(field(self.head, b"content-length") or 0)
            if length > len(body):
                self.unread = length - len(body)
                return
            self.received = body[length:]
            self.answer(self.head)

    def answer(self, head: bytes) -> None:
        """When all of the request is there: an answer to half an upload would measure half of it."""
        status, body = self.reply(head)
        close = (field(head, b"connection") or b"").lower() == b"close"
        more = b"Connection: close\r\n" if close else b""
        self.transport.write(
            b"HTTP/1.1 %s\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n%s\r\n%s" % (status, len(body), more, body)
        )
        if close:
            self.transport.close()

    def reply(self, head: bytes) -> tuple[bytes, bytes]:
        """A status and a body."""
        if field(head, b"authorization") != b"Bearer " + self.token:
            return b"401 Unauthorized", b"no token\n"
        return b"200 OK", LARGE if head.split(b" ", 2)[1] == b"/large" else SMALL


class Tokens(Api):
    """Answers every token request with the one token."""

    def reply(self, head: bytes) -> tuple[bytes, bytes]:
        return b"200 OK", b'{"access_token":"%s","token_type":"Bearer","expires_in":86400}' % self.token


def field(head: bytes, name: bytes) -> bytes | None:
    """The value of a field, whose name may be written in any case."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return None
    return head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip()


async def main(port: str, token_port: str, token: str, tls_port: str = "", certificate: str = "", key: str = "") -> None:
    Api.token = token.encode()
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Api, "127.0.0.1", int(port), backlog=1024)]
    servers.append(await loop.create_server(Tokens, "127.0.0.1", int(token_port), backlog=1024))
    if tls_port:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["http/1.1"])
        servers.append(await loop.create_server(Api, "127.0.0.1", int(tls_port), ssl=context, backlog=1024))
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main(*sys.argv[1:]))
