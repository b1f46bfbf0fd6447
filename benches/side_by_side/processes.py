"""Programs that are started, pinned, and gone at the end, however the end comes."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import machine
from .errors import Wrong

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class Process:
    """One program in a session of its own, with what it says in a file."""

    def __init__(self, name: str, child: "subprocess.Popen[str]", said: Path) -> None:
        self.name, self.child, self._said = name, child, said

    @property
    def session(self) -> int:
        """What all of its processes have in common."""
        return self.child.pid

    def said(self) -> str:
        """The end of what it has said, for when it fails."""
        return "\n".join(self._said.read_text(errors="replace").strip().splitlines()[-4:])[-800:]

    def has_ended(self) -> bool:
        """Its first process; workers may outlive that."""
        return self.child.poll() is not None

    def end(self) -> None:
        """Asks it to end, and ends what is left of its session two seconds later."""
        self.child.terminate()
        self._wait(2.0)
        for member in machine.members([self.session]):
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe:
                pipe.close()

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.has_ended() and not machine.members([self.session]):
                return
            time.sleep(0.02)


class Processes:
    """All that one run has started. Leaving the `with` block ends what is left."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._living: list[Process] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        # A second ^C must not leave half of them.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for process in reversed(self._living):
                process.end()
            self._living.clear()
        finally:
            signal.signal(signal.SIGINT, previous)

    def start(self, name: str, argv: list[str], core: int, *, piped: bool = False, env: dict[str, str] | None = None) -> Process:
        """Starts a program on one core. With `piped`, its stdin and stdout are for talking to it."""
        self._count += 1
        said = self._folder / f"{self._count:03}-{name.replace('/', '_')}.log"

        def pinned() -> None:
            os.sched_setaffinity(0, {core})
            # If this process is killed outright, nobody is left to end its children.
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        pipe = subprocess.PIPE if piped else None
        with said.open("wb") as log:
            child = subprocess.Popen(
                argv,
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or log,
                stderr=log,
                start_new_session=True,
                preexec_fn=pinned,
                text=True,
                bufsize=1,
                env=env,
            )
        process = Process(name, child, said)
        self._living.append(process)
        return process

    def end(self, process: Process) -> None:
        """Before the others."""
        process.end()
        self._living.remove(process)

    def sessions(self) -> list[int]:
        """Of all that run now."""
        return [process.session for process in self._living]


def python(module: str, *arguments: str) -> list[str]:
    """The command for one of this folder's programs: what is busy runs apart from what measures."""
    start = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), None, '__main__', True)"
    return [sys.executable, "-B", "-c", start, str(Path(__file__).parent.parent), f"side_by_side.{module}", *arguments]


def free_port() -> int:
    """A loopback port that nothing listens on, and that the kernel gives to no outgoing connection before it is bound."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first = 10_000 if lowest > 12_000 else 1_024
    for _ in range(1_000):
        port = random.randrange(first, max(lowest, first + 2_000))
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Wrong("no free port on 127.0.0.1")


def until(process: Process, what: str, seconds: float, holds: Callable[[], bool]) -> float:
    """Waits until it holds, and says how many seconds that took. An ended process is not waited for."""
    began = time.monotonic()
    while not holds():
        if process.has_ended():
            raise Wrong(f"{process.name} ended by itself ({process.child.returncode}) before {what}:\n{process.said()}")
        if time.monotonic() - began > seconds:
            raise Wrong(f"{process.name}: {what} has not come within {seconds:.0f} s:\n{process.said()}")
        time.sleep(0.01)
    return time.monotonic() - began
