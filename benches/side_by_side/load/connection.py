"""One caller's connection, by way of a proxy or not, and one question over it."""

import socket
import ssl
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from . import http2

#: A proxy that takes longer for anything that is asked here does not do what it is measured at.
TIMEOUT = 20.0

Connection = socket.socket | ssl.SSLSocket


@dataclass(frozen=True)
class Target:
    """What is asked, and by which way."""

    port: int
    path: str = "/small"
    #: The name that is asked for: what stands in `Host`, in an absolute URL, in CONNECT.
    authority: str = "localhost"
    #: "direct": as a server is asked; "absolute": as a proxy is asked; "tunnel": inside of CONNECT.
    way: str = "direct"
    #: The CA's file, where TLS is spoken to the proxy, or inside of the tunnel.
    outer_ca: str = ""
    inner_ca: str = ""
    #: What the caller itself sends, for ways on which nothing is put on.
    authorization: str = ""
    upload: int = 0
    http2: bool = False

    def fields(self) -> dict[str, Any]:
        """For another process; `Target(**fields)` is the way back."""
        return asdict(self)

    def bare(self) -> "Target":
        """Without what the caller itself sends."""
        return replace(self, authorization="")

    def at(self, path: str, upload: int = 0) -> "Target":
        """The same way to another path."""
        return replace(self, path=path, upload=upload)


@dataclass(frozen=True)
class Answer:
    """What is looked at of an answer. What its body holds is the same everywhere."""

    status: int
    size: int


def ask(target: Target) -> Answer | None:
    """One question on a connection of its own; `None` if there is no server, or no whole answer."""
    try:
        with connect(target) as connection:
            if target.http2:
                return Answer(*http2.ask(connection, target.authority, target.path))
            connection.sendall(request(target))
            return answer(connection)
    except (OSError, ValueError):
        return None


def connect(target: Target) -> Connection:
    """Up to where a request can be written: through both TLS handshakes and the proxy's consent to a tunnel."""
    connection: Connection = socket.create_connection(("127.0.0.1", target.port), timeout=TIMEOUT)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.outer_ca:
            connection = _context(target.outer_ca).wrap_socket(connection, server_hostname="localhost")
        if target.way == "tunnel":
            line = f"CONNECT {target.authority} HTTP/1.1\r\nHost: {target.authority}\r\n\r\n"
            connection.sendall(line.encode())
            if (status := _tunnel_status(connection)) != 200:
                raise ValueError(f"CONNECT was answered with {status}")
        if target.inner_ca:
            connection = _context(target.inner_ca).wrap_socket(connection, server_hostname=target.authority.split(":")[0])
        return connection
    except BaseException:
        connection.close()
        raise


def request(target: Target, *, close: bool = False) -> bytes:
    """The whole request, with its body."""
    url = f"http://{target.authority}{target.path}" if target.way == "absolute" else target.path
    lines = [f"{'POST' if target.upload else 'GET'} {url} HTTP/1.1", f"Host: {target.authority}"]
    if target.authorization:
        lines.append(f"Authorization: {target.authorization}")
    if target.upload:
        lines.append(f"Content-Length: {target.upload}")
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + b"x" * target.upload


def answer(connection: Connection) -> Answer:
    """Reads one answer, with a body of declared length, and nothing behind it."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _more(connection)
    head = received[:end].lower()
    status, at = int(received[9:12]), head.find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError(f"an answer without a length: {received[:end]!r}")
    length = int(head[at + 17 :].split(b"\r\n", 1)[0])
    size = len(received) - end - 4
    while size < length:
        size += len(_more(connection))
    if size > length:
        raise ValueError("bytes behind the answer")
    return Answer(status, size)


def _more(connection: Connection) -> bytes:
    received = connection.recv(262_144)
    if not received:
        raise ConnectionError("closed in the middle of an answer")
    return received


def _tunnel_status(connection: Connection) -> int:
    # Byte by byte behind the status line would be slow; what is behind the head belongs to a server, and servers wait here.
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    return int(received[9:12])


@cache
def _context(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    # From Python 3.13 on it asks for more of a certificate than TLS does.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    return context
