"""Medians, ranges and ratios of what the turns yielded."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from .rounds import DISTURBED


@dataclass(frozen=True)
class Figure:
    """The middle one of several, with the smallest and the largest."""

    middle: float
    low: float
    high: float

    def text(self) -> str:
        """The range stands only where there is one."""
        if number(self.low) == number(self.high):
            return number(self.middle)
        return f"{number(self.middle)} ({number(self.low)}–{number(self.high)})"


def number(value: float) -> str:
    """Three digits, and all of those before the point."""
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:,.{decimals}f}"


def figure(values: Iterable[float]) -> Figure | None:
    """Of nothing there is none."""
    known = list(values)
    return Figure(median(known), min(known), max(known)) if known else None


class Samples:
    """Those of one run, or of several that are shown together, as they stand in a file."""

    def __init__(self, samples: list[dict[str, Any]]) -> None:
        self._samples = samples

    def figure(self, scenario: str, proxy: str, value: str) -> Figure | None:
        """Of all rounds of a proxy."""
        return figure(self._by_round(scenario, proxy, value).values())

    def ratio(self, scenario: str, over: str, under: str, value: str) -> Figure | None:
        """Of the turns of one round each: what slowed both down falls out of it."""
        above, below = self._by_round(scenario, over, value), self._by_round(scenario, under, value)
        return figure(above[key] / below[key] for key in above if below.get(key))

    def values(self, scenario: str) -> list[str]:
        """What the turns of a scenario yield, in their order."""
        names: dict[str, None] = {}
        for sample in self._samples:
            if sample["scenario"] == scenario:
                names |= dict.fromkeys(sample["values"])
        return list(names)

    def turns(self, scenario: str) -> tuple[int, int]:
        """How many there are, and how many of them other programs disturbed."""
        foreign = [sample["foreign"] for sample in self._samples if sample["scenario"] == scenario]
        return len(foreign), sum(cores > DISTURBED for cores in foreign)

    def _by_round(self, scenario: str, proxy: str, value: str) -> dict[tuple[int, int], float]:
        return {
            (sample.get("run", 0), sample["round"]): sample["values"][value]
            for sample in self._samples
            if sample["scenario"] == scenario and sample["proxy"] == proxy and value in sample["values"]
        }
