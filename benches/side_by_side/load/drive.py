"""Asks a proxy for some seconds, by the program that fits, and says how often it was answered rightly."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..errors import Missing, Wrong
from ..processes import Process, python
from ..scenarios import Load
from ..world import World
from .connection import Target

#: How much longer than asked for a load may take before it counts as stuck.
PATIENCE = 30.0


@dataclass(frozen=True)
class Done:
    """Answers that were right, and the time that they took."""

    requests: int
    seconds: float


class Driver(Protocol):
    """Made ready first, so that what the proxy does meanwhile is not counted."""

    def go(self) -> Done: ...


def fits(world: World, load: Load, target: Target) -> str:
    """The program for this load."""
    if load.streams:
        if not world.programs.path("h2load"):
            raise Missing("h2load is not there")
        return "h2load"
    if target.way == "tunnel" or not world.programs.path("wrk"):
        return "loop"
    return "wrk"


def ready(world: World, load: Load, target: Target, seconds: float) -> Driver:
    """Made ready; it does not ask yet."""
    drivers: dict[str, Callable[[World, Load, Target, float], Driver]] = {"wrk": _Wrk, "h2load": _H2load, "loop": _Loop}
    return drivers[fits(world, load, target)](world, load, target, seconds)


class _Wrk:
    _SCRIPT = """
wrk.method, wrk.path, wrk.headers["Host"] = %(method)s, %(path)s, %(host)s
%(close)s
%(body)s
function done(summary)
   local bad = summary.errors
   local form = '{"requests":%%d,"seconds":%%f,"bad":[%%d,%%d,%%d,%%d,%%d]}\\n'
   io.write(string.format(form, summary.requests, summary.duration / 1e6, bad.connect, bad.read, bad.write, bad.status,
      bad.timeout))
end
"""

    def __init__(self, world: World, load: Load, target: Target, seconds: float) -> None:
        path = f"http://{target.authority}{target.path}" if target.way == "absolute" else target.path
        script = world.write(
            "wrk.lua",
            self._SCRIPT
            % {
                "method": json.dumps("POST" if target.upload else "GET"),
                "path": json.dumps(path),
                "host": json.dumps(target.authority),
                "close": 'wrk.headers["Connection"] = "close"' if load.new else "",
                "body": f'wrk.body = string.rep("x", {target.upload})' if target.upload else "",
            },
        )
        self._world, self._seconds = world, seconds
        self._argv = [
            world.programs.paths["wrk"],
            "-t1",
            f"-c{load.connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "20s",
            "-s",
            str(script),
            f"http://127.0.0.1:{target.port}/",
        ]

    def go(self) -> Done:
        text = _finished(self._world, "wrk", self._argv, self._seconds)
        told = next((json.loads(line) for line in text.splitlines() if line.startswith("{")), None)
        if not told:
            raise Wrong(f"wrk said:\n{text}")
        if any(told["bad"]):
            names = ("connect", "read", "write", "status", "timeout")
            raise Wrong(
                "wrk had errors: " + ", ".join(f"{count} {name}" for name, count in zip(names, told["bad"], strict=True) if count)
            )
        return Done(told["requests"], told["seconds"])


class _H2load:
    def __init__(self, world: World, load: Load, target: Target, seconds: float) -> None:
        self._world, self._seconds = world, max(1, round(seconds))
        self._argv = [
            world.programs.paths["h2load"],
            "-t1",
            f"-c{load.connections}",
            f"-m{load.streams}",
            f"-D{self._seconds}",
            f"http://127.0.0.1:{target.port}{target.path}",
            "-H",
            f":authority: {target.authority}",
        ]

    def go(self) -> Done:
        text = _finished(self._world, "h2load", self._argv, self._seconds)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", text)
        if not codes or not failed or any(map(int, codes.groups()[1:])) or any(map(int, failed.groups())):
            raise Wrong(f"h2load said:\n{text}")
        return Done(int(codes[1]), float(self._seconds))


class _Loop:
    def __init__(self, world: World, load: Load, target: Target, seconds: float) -> None:
        document = {"target": target.fields(), "connections": load.connections, "new": load.new, "seconds": seconds}
        self._world = world
        self._process = world.processes.start("loop", python("load.loop", json.dumps(document)), world.cores.load, piped=True)
        self._line("ready")

    def go(self) -> Done:
        try:
            told = json.loads(self._line(None, "go"))
            return Done(told["requests"], told["seconds"])
        finally:
            self._world.processes.end(self._process)

    def _line(self, wanted: str | None, say: str = "") -> str:
        line = talk(self._process, say)
        if not line or (wanted and line != wanted):
            raise Wrong(f"the loop of requests said {line!r}:\n{self._process.said()}")
        return line


def talk(process: Process, say: str = "") -> str:
    """Says a line to a program that was started `piped`, and reads one; empty if it has ended. Each wait of theirs is bounded."""
    stdin, stdout = process.child.stdin, process.child.stdout
    assert stdin and stdout
    try:
        if say:
            stdin.write(say + "\n")
        return str(stdout.readline()).strip()
    except BrokenPipeError:
        return ""


def _finished(world: World, name: str, argv: list[str], seconds: float) -> str:
    process = world.processes.start(name, argv, world.cores.load, piped=True)
    try:
        text, _ = process.child.communicate(timeout=seconds + PATIENCE)
    except subprocess.TimeoutExpired:
        raise Wrong(f"{name} did not end:\n{process.said()}") from None
    finally:
        code = process.child.poll()
        world.processes.end(process)
    if code:
        raise Wrong(f"{name} ended with {code}:\n{process.said()}")
    return str(text) + process.said()
