"""The tables, as Markdown that also reads well in a terminal, and the file that they are made of."""

import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .errors import Missing
from .figures import Samples, number
from .rounds import Outcome
from .scenarios import Scenario

FORMAT = 1


def document(
    outcome: Outcome,
    scenarios: list[Scenario],
    attache: list[str],
    peers: list[str],
    versions: dict[str, str],
    made: dict[str, Any],
) -> dict[str, Any]:
    """What `--out` writes: everything that the tables need, and how it came about."""
    return {
        "format": FORMAT,
        "made": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "machine": f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "options": made,
        "versions": versions,
        "attache": attache,
        "peers": peers,
        "scenarios": [{"name": one.name, "about": one.about, "kind": one.kind, "unit": one.unit} for one in scenarios],
        "samples": [asdict(sample) for sample in outcome.samples],
        "left_out": outcome.left_out,
        "failures": outcome.failures,
    }


def load(paths: list[Path]) -> dict[str, Any]:
    """One document of one or more files. Rounds stay those of their run, for ratios."""
    whole: dict[str, Any] = {}
    for run, path in enumerate(paths):
        try:
            one = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise Missing(f"{path}: {error}") from None
        if not isinstance(one, dict) or one.get("format") != FORMAT:
            raise Missing(f"{path} is no file of --out, or one of another version of this program")
        for sample in one["samples"]:
            sample["run"] = run
        one["headings"] = [_heading(one)]
        if not whole:
            whole = one
            continue
        for name in ("headings", "attache", "peers", "scenarios", "samples", "failures"):
            whole[name] += [value for value in one[name] if value not in whole[name]]
        for why, names in one["left_out"].items():
            whole["left_out"].setdefault(why, []).extend(names)
        whole["versions"] |= one["versions"]
    return whole


def tables(document: dict[str, Any]) -> str:
    """All that was measured."""
    samples = Samples(document["samples"])
    proxies = document["attache"] + document["peers"]
    parts = document.get("headings") or [_heading(document)]
    of_kind = {
        kind: [one for one in document["scenarios"] if one["kind"] == kind and samples.values(one["name"])]
        for kind in ("load", "memory", "start")
    }
    if loads := of_kind["load"]:
        parts += [_time(loads, samples, document), _rate(loads, samples, proxies)]
    for one in of_kind["memory"]:
        parts.append(_memory(one, samples, document))
    for one in of_kind["start"]:
        parts.append(_start(one, samples, proxies))
    for title, lines in (
        ("Left out", [f"{why} ({', '.join(names)})" for why, names in document["left_out"].items()]),
        ("FAILED", document["failures"]),
    ):
        if lines:
            parts.append(f"{title}:\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts)


def compared(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Two runs. Their times are of two states of the machine: only ratios to a peer can be held beside each other."""
    before, after = Samples(old["samples"]), Samples(new["samples"])
    names = [one["name"] for one in new["scenarios"] if one["kind"] == "load"]
    if not old["attache"] or not new["attache"]:
        raise Missing("attache was not measured in both of these runs")
    first, last = old["attache"][-1], new["attache"][-1]
    rows = [["CPU for each", *(f"{last} / {peer}, {when}" for peer in new["peers"] for when in ("old", "new"))]]
    for name in names:
        row = [name]
        for peer in new["peers"]:
            row += [_cell(before.ratio(name, first, peer, "cpu")), _cell(after.ratio(name, last, peer, "cpu"))]
        rows.append(row)
    memory = [["KiB for each waiting caller", "old", "new"]]
    for name in [one["name"] for one in new["scenarios"] if one["kind"] == "memory"]:
        memory.append([name, _cell(before.figure(name, first, "each")), _cell(after.figure(name, last, "each"))])
    return "\n\n".join(_table(rows) for rows in (rows, memory) if len(rows) > 1)


def _heading(document: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    options = document["options"]
    made = f"{options['rounds']} rounds of {options['seconds']:g} s, load by {options['load']}, upstream {options['upstream']}"
    return f"{document['made']}, {document['machine']}; {made}.\n{versions}."


def _ratios(document: dict[str, Any]) -> list[tuple[str, str]]:
    """The last attache over the one before it, and over each peer."""
    if not document["attache"]:
        return []
    *earlier, last = document["attache"]
    return [(last, name) for name in earlier + document["peers"]]


def _time(scenarios: list[dict[str, str]], samples: Samples, document: dict[str, Any]) -> str:
    proxies = document["attache"] + document["peers"]
    pairs = _ratios(document)
    rows = [["CPU, µs for each", *proxies, *(f"{over} / {under}" for over, under in pairs), "disturbed"]]
    for one in scenarios:
        name = one["name"]
        cells = [_cell(samples.figure(name, proxy, "cpu")) for proxy in proxies]
        ratios = [_cell(samples.ratio(name, over, under, "cpu")) for over, under in pairs]
        turns, disturbed = samples.turns(name)
        unit = "" if one["unit"] == "request" else f", {one['unit']}"
        rows.append([f"`{name}`{unit}", *cells, *ratios, f"{disturbed} of {turns}"])
    return _table(rows)


def _rate(scenarios: list[dict[str, str]], samples: Samples, proxies: list[str]) -> str:
    rows = [["in a second (share of its core)", *proxies]]
    for one in scenarios:
        cells = []
        for proxy in proxies:
            rate, busy = samples.figure(one["name"], proxy, "rate"), samples.figure(one["name"], proxy, "busy")
            cells.append(f"{number(rate.middle)} ({busy.middle:.0%})" if rate and busy else "–")
        rows.append([f"`{one['name']}`", *cells])
    return _table(rows)


def _memory(scenario: dict[str, str], samples: Samples, document: dict[str, Any]) -> str:
    name = scenario["name"]
    counts = [value for value in samples.values(name) if value.isdigit()]
    rows = [[f"`{name}`, MiB", *(f"{int(count):,} callers" for count in counts), "after them", "KiB for each"]]
    for proxy in document["attache"] + document["peers"]:
        rows.append([proxy, *(_cell(samples.figure(name, proxy, value)) for value in [*counts, "after", "each"])])
    return _table(rows)


def _start(scenario: dict[str, str], samples: Samples, proxies: list[str]) -> str:
    name = scenario["name"]
    rows = [[f"`{name}`", "seconds", "MiB", "MiB after a reload"]]
    for proxy in proxies:
        rows.append([proxy, *(_cell(samples.figure(name, proxy, value)) for value in ("seconds", "memory", "reloaded"))])
    return _table(rows)


def _cell(figure: Any) -> str:
    return figure.text() if figure else "–"


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    rule = [("-" * width if column == 0 else "-" * (width - 1) + ":") for column, width in enumerate(widths)]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
