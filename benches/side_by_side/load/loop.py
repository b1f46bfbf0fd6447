"""A caller in Python, for what neither wrk nor h2load can ask. A program of its own, started with a document that says what.

All of its connections ask, then all are answered: so the proxy finds several of them ready at once, as under any load.
It says "ready" when they are open, begins when it is told to, and then prints how far it came.
"""

import json
import sys
import time

from .connection import Connection, Target, answer, connect, request


def kept(target: Target, connections: list[Connection], until: float) -> int:
    """Requests over the same connections."""
    whole, asked = request(target), 0
    while time.monotonic() < until:
        for connection in connections:
            connection.sendall(whole)
        for connection in connections:
            checked(connection)
        asked += len(connections)
    return asked


def new(target: Target, count: int, until: float) -> int:
    """A connection for each request, with all that comes before one."""
    whole, asked = request(target, close=True), 0
    while time.monotonic() < until:
        connections = [connect(target) for _ in range(count)]
        for connection in connections:
            connection.sendall(whole)
        for connection in connections:
            checked(connection)
            connection.close()
        asked += count
    return asked


def checked(connection: Connection) -> None:
    """A wrong answer ends the whole load: it would be a figure of something else."""
    got = answer(connection)
    if got.status != 200:
        raise ValueError(f"status {got.status}")


def main(document: str) -> None:
    """What is asked, and how, in one document."""
    told = json.loads(document)
    target, count, seconds = Target(**told["target"]), told["connections"], told["seconds"]
    connections = [] if told["new"] else [connect(target) for _ in range(count)]
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    asked = new(target, count, began + seconds) if told["new"] else kept(target, connections, began + seconds)
    print(json.dumps({"requests": asked, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
