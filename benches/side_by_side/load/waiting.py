"""Callers that have asked once and then keep their connections. A program of its own, which is told on stdin: a number (so many
shall be open), "ask" (some of them ask again), or "close". It answers each line with one of its own.
"""

import json
import socket
import sys

from . import http2
from .connection import TIMEOUT, Target, answer, connect, request

#: How many ask again: enough to show that they are alive, and few beside ten thousand.
AGAIN = 100


def opened(target: Target) -> socket.socket:
    """One more, which has been answered once. A proxy may hold less for one that never spoke."""
    connection = connect(target)
    if target.http2:
        status = http2.ask(connection, target.authority, target.path)[0]
    else:
        connection.sendall(request(target))
        status = answer(connection).status
    if status != 200:
        raise ValueError(f"status {status}")
    if target.outer_ca:
        # The connection without what this side holds for its TLS: ten thousand of these are a gigabyte here.
        return socket.socket(fileno=connection.detach())
    return connection


def ask_again(target: Target, waiting: list[socket.socket]) -> int:
    """How many of some that are spread over all are answered again, or, where that cannot be asked, are still open."""
    chosen = waiting[:: max(1, len(waiting) // AGAIN)]
    for connection in chosen:
        if target.http2 or target.outer_ca:
            connection.setblocking(False)
            try:
                if not connection.recv(1, socket.MSG_PEEK):
                    raise ConnectionError("closed while it waited")
            except BlockingIOError:
                pass
            connection.settimeout(TIMEOUT)
        else:
            connection.sendall(request(target))
            if answer(connection).status != 200:
                raise ValueError("refused when it asked again")
    return len(chosen)


def main(document: str) -> None:
    """Does what each line says, and answers it."""
    target = Target(**json.loads(document))
    waiting: list[socket.socket] = []
    for line in sys.stdin:
        wish = line.strip()
        if wish == "close":
            for connection in waiting:
                connection.close()
            waiting.clear()
            print("closed", flush=True)
        elif wish == "ask":
            print(ask_again(target, waiting), flush=True)
        else:
            while len(waiting) < int(wish):
                waiting.append(opened(target))
            print(len(waiting), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
