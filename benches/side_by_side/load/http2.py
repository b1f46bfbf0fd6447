"""As much of HTTP/2 as one question takes (RFC 9113), for connections of which there are to be ten thousand."""

import socket
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4

#: Indexed fields of the static table (RFC 7541, appendix A): the only form in which a 200 is ever written.
_STATUS = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
_GET, _HTTP, _PATH, _AUTHORITY = 0x82, 0x86, 0x04, 0x01


def ask(connection: socket.socket, authority: str, path: str) -> tuple[int, int]:
    """The first question of a connection: the status, 0 if it is in another form, and the size of the answer."""
    fields = bytes([_GET, _HTTP]) + _literal(_PATH, path) + _literal(_AUTHORITY, authority)
    head = _frame(_HEADERS, _END_STREAM | _END_HEADERS, 1, fields)
    connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + head)
    received, status, size = b"", 0, 0
    while True:
        while len(received) < 9 or len(received) < 9 + int.from_bytes(received[:3], "big"):
            more = connection.recv(65_536)
            if not more:
                raise ConnectionError("closed in the middle of an answer")
            received += more
        length = int.from_bytes(received[:3], "big")
        kind, flags, payload, received = received[3], received[4], received[9 : 9 + length], received[9 + length :]
        if kind == _SETTINGS and not flags & _ACK:
            connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind in (_RST_STREAM, _GOAWAY):
            raise ConnectionError(f"frame {kind} in place of an answer")
        elif kind == _HEADERS:
            status = _status(payload)
        elif kind == _DATA:
            size += len(payload)
        if kind in (_HEADERS, _DATA) and flags & _END_STREAM:
            return status, size


def _status(fields: bytes) -> int:
    # An update of the table's size may stand in front (RFC 7541 section 6.3).
    at = 0
    while at < len(fields) and fields[at] & 0xE0 == 0x20:
        more = fields[at] & 0x1F == 0x1F
        at += 1
        while more:
            more = bool(fields[at] & 0x80)
            at += 1
    return _STATUS.get(fields[at], 0) if at < len(fields) else 0


def _literal(name: int, value: str) -> bytes:
    return bytes([name, len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload
