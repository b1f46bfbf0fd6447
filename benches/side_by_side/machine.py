"""What the kernel counts: time on a core, resident memory, and what other programs took meanwhile.

Time on a core is read from `schedstat`, which counts nanoseconds for each thread. `stat` counts ticks of 10 ms, by sampling; it
is used only to tell user from system time, and for the machine as a whole.
"""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cores:
    """Where things run. The proxy alone has one, so that what it is given is what it takes."""

    proxy: int
    load: int


def cores(proxy: int | None, load: int | None) -> Cores:
    """Those that were asked for; else the first and the last that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0] if proxy is None else proxy, allowed[-1] if load is None else load)


def raise_descriptors(wanted: int) -> int:
    """So many for this and for each program started from here, or as many as it may have; says how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            # Root may.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def members(sessions: list[int]) -> list[int]:
    """Every process of these sessions. Each program is started in one of its own, in which workers stay without a parent too."""
    wanted, found = set(sessions), []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))) and int(stat[3]) in wanted and stat[0] != "Z":
            found.append(int(entry))
    return found


@dataclass(frozen=True)
class CoreTime:
    """Seconds that a program has been on a core, and which part of its ticks was user time."""

    seconds: float
    user_ticks: int
    system_ticks: int

    def since(self, before: "CoreTime") -> tuple[float, float]:
        """Seconds on a core since then, and the part of them that was user time."""
        user, system = self.user_ticks - before.user_ticks, self.system_ticks - before.system_ticks
        return self.seconds - before.seconds, user / max(user + system, 1)


def core_time(sessions: list[int]) -> CoreTime:
    """The time of all threads of all processes of these sessions."""
    nanoseconds, user, system = 0, 0, 0
    for process in members(sessions):
        nanoseconds += _nanoseconds(process)
        if stat := _stat(process):
            user, system = user + int(stat[11]), system + int(stat[12])
    return CoreTime(nanoseconds / 1e9, user, system)


def resident(session: int) -> int:
    """Bytes that are resident in the processes of a session. What several share is divided among them (`Pss`): a master and its
    worker have most of their pages in common, which are there once."""
    total = 0
    for process in members([session]):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


class Foreign:
    """How many cores programs take that are not part of this run, from its making on."""

    def __init__(self, sessions: list[int]) -> None:
        self._sessions = sessions
        # This run's own time is read outside of the machine's, so that reading it is not taken for another program.
        self._own, self._machine, self._began = self._own_seconds(), _machine_seconds(), time.monotonic()

    def cores(self) -> float:
        """On average since then. The kernel's ticks make it good to some hundredths."""
        elapsed, machine = time.monotonic() - self._began, _machine_seconds() - self._machine
        return max(0.0, machine - (self._own_seconds() - self._own)) / max(elapsed, 1e-9)

    def _own_seconds(self) -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return core_time(self._sessions).seconds + _nanoseconds(os.getpid()) / 1e9 + ended.ru_utime + ended.ru_stime


def _machine_seconds() -> float:
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = fields[:8]
    return (user + nice + system + interrupts + soft_interrupts + stolen) * TICK


def _nanoseconds(process: int) -> int:
    total = 0
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            total += int(Path(f"/proc/{process}/task/{thread}/schedstat").read_text().split()[0])
    except OSError:
        pass  # It ended while it was read.
    return total


def _stat(process: int) -> list[str] | None:
    """The fields behind the program's name, which may hold anything: state, parent, group, session, …"""
    try:
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
