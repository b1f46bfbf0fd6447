"""Each proxy once in each round, so that a slow minute of the machine hits all of them."""

import sys
import time
from dataclasses import dataclass, field

from . import machine, memory
from .check import Standing, stand
from .errors import Ended, Missing, Wrong
from .load import drive
from .load.waiting_callers import Waiting
from .machine import Foreign
from .proxies import Proxy
from .scenarios import Scale, Scenario
from .world import World

#: More than this of a core, and the turn is marked.
DISTURBED = 0.15


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    scale: Scale
    #: Seconds in which a proxy may find that its callers are idle, before its memory is read.
    settle: float


@dataclass
class Sample:
    """What one turn of one proxy yielded."""

    scenario: str
    proxy: str
    round: int
    values: dict[str, float]
    #: How many cores other programs had meanwhile.
    foreign: float


@dataclass
class Outcome:
    """What there is when it ends, be it early."""

    samples: list[Sample] = field(default_factory=list)
    #: What cannot be measured, and in which scenarios.
    left_out: dict[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def leave_out(self, why: str, scenario: Scenario) -> None:
        """Said when it happens, and listed below the tables by its reason."""
        say(f"  left out of {scenario.name}: {why}")
        self.left_out.setdefault(why, []).append(scenario.name)


def run(world: World, proxies: list[Proxy], scenarios: list[Scenario], plan: Plan, outcome: Outcome) -> None:
    """Fills the outcome; a proxy that fails in a scenario is out of it, and the rest goes on."""
    for scenario in scenarios:
        say(f"{scenario.name}: {scenario.about}")
        if scenario.needs_certificates and not world.certificates:
            outcome.leave_out("no certificates, since openssl is not there", scenario)
            continue
        taking_part = []
        for proxy in proxies:
            if why := proxy.cannot(scenario.setting):
                outcome.leave_out(f"{proxy.name}: {why}", scenario)
            else:
                taking_part.append(proxy)
        try:
            if scenario.kind == "load":
                _loaded(world, taking_part, scenario, plan, outcome)
            else:
                _fresh(world, taking_part, scenario, plan, outcome)
        except Missing as why:
            outcome.leave_out(str(why), scenario)


def _loaded(world: World, proxies: list[Proxy], scenario: Scenario, plan: Plan, outcome: Outcome) -> None:
    """All of them run for the whole scenario; whose turn it is not has nothing to do."""
    standing: list[Standing] = []
    waiting: list[Waiting] = []
    beside = scenario.load.waiting if scenario.load else 0
    try:
        for proxy in proxies:
            with _Failing(world, outcome, scenario, proxy):
                one = stand(world, proxy, scenario.setting)
                standing.append(one)
                if beside:
                    waiting.append(Waiting(world, one.target, beside))
                # The first requests open connections to the upstream, and fetch a token.
                _turn(world, one, scenario, min(1.0, plan.seconds))
        if beside:
            time.sleep(plan.settle)
        for number in range(plan.rounds):
            # There and back: who is first in a round has no advantage over all of them.
            for one in standing if number % 2 == 0 else standing[::-1]:
                with _Failing(world, outcome, scenario, one.proxy):
                    values, foreign = _turn(world, one, scenario, plan.seconds)
                    _keep(outcome, Sample(scenario.name, one.proxy.name, number, values, foreign), plan.rounds)
    finally:
        for callers in waiting:
            callers.end()
        for one in standing:
            world.processes.end(one.process)


def _turn(world: World, one: Standing, scenario: Scenario, seconds: float) -> tuple[dict[str, float], float]:
    load = scenario.load
    assert load
    target = one.target.at(load.path, load.upload)
    driver = drive.ready(world, load, target, seconds)
    foreign = Foreign(world.processes.sessions())
    before = machine.core_time([one.process.session])
    done = driver.go()
    taken, user = machine.core_time([one.process.session]).since(before)
    others = foreign.cores()
    if one.process.has_ended():
        raise Wrong(f"{one.proxy.name} ended under load:\n{one.process.said()}")
    if not done.requests:
        raise Wrong(f"{one.proxy.name} has not answered once in {seconds} s")
    # A request for a MiB, or with one, is a MiB.
    each = taken / done.requests * 1e6
    values = {"cpu": each, "user": each * user, "rate": done.requests / done.seconds, "busy": taken / done.seconds}
    return values, others


def _fresh(world: World, proxies: list[Proxy], scenario: Scenario, plan: Plan, outcome: Outcome) -> None:
    """One at a time, each started anew: what it was asked before would be in its memory. Three rounds say as much as ten."""
    turn = {"memory": memory.waiting, "start": memory.starting}[scenario.kind]
    rounds = min(plan.rounds, 3)
    for number in range(rounds):
        for proxy in proxies if number % 2 == 0 else proxies[::-1]:
            with _Failing(world, outcome, scenario, proxy):
                foreign = Foreign(world.processes.sessions())
                values = turn(world, proxy, scenario.setting, plan.scale, plan.settle)
                others = foreign.cores()
                _keep(outcome, Sample(scenario.name, proxy.name, number, values, others), rounds)


def _keep(outcome: Outcome, sample: Sample, rounds: int) -> None:
    outcome.samples.append(sample)
    figures = "  ".join(f"{name} {value:,.4g}" for name, value in sample.values.items())
    mark = f"  (other programs had {sample.foreign:.2f} cores)" if sample.foreign > DISTURBED else ""
    say(f"  {sample.round + 1}/{rounds} {sample.proxy:10} {figures}{mark}")


class _Failing:
    """Notes what goes wrong with one proxy, loudly, and lets the others go on."""

    def __init__(self, world: World, outcome: Outcome, scenario: Scenario, proxy: Proxy) -> None:
        self._upstream = world.upstream
        self._outcome, self._where = outcome, f"{scenario.name}, {proxy.name}"

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, (Wrong, OSError)):
            return False
        if self._upstream and self._upstream.has_ended():
            raise Ended(
                f"the upstream ended by itself or was ended ({self._upstream.child.returncode}):\n{self._upstream.said()}"
            )
        self._outcome.failures.append(f"{self._where}: {error}")
        say(f"  FAILED {self._where}: {error}")
        return True


def say(line: str) -> None:
    """Talk goes to stderr; the tables are on stdout."""
    print(line, file=sys.stderr, flush=True)
