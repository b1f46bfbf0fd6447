"""The turns that look at memory: what idle callers hold, what is given back, and what a large configuration takes."""

import signal
import time

from . import machine
from .check import Standing, stand
from .load.connection import Answer, ask
from .load.waiting_callers import Waiting
from .processes import until
from .proxies import Proxy
from .scenarios import Scale, Setting
from .world import SMALL, World

MIB = 1024 * 1024


def waiting(world: World, proxy: Proxy, setting: Setting, scale: Scale, settle: float) -> dict[str, float]:
    """MiB without callers, with a tenth of them, with all of them, and when they have gone; KiB for each."""
    one = stand(world, proxy, setting)
    callers = None
    try:
        values = {"0": _resident(one, settle)}
        callers = Waiting(world, one.target)
        for count in (scale.waiting // 10, scale.waiting):
            callers.grow(count)
            values[str(count)] = _resident(one, settle)
        callers.ask_again()
        callers.close()
        values["after"] = _resident(one, settle)
        values["each"] = (values[str(scale.waiting)] - values["0"]) * 1024 / scale.waiting
        return values
    finally:
        if callers:
            callers.end()
        world.processes.end(one.process)


def starting(world: World, proxy: Proxy, setting: Setting, _scale: Scale, settle: float) -> dict[str, float]:
    """Seconds to the first answer, MiB then, and MiB after it has read the same configuration again, where SIGHUP says so."""
    one = stand(world, proxy, setting)
    try:
        values = {"seconds": one.seconds, "memory": _resident(one, settle)}
        # Envoy has no such signal, and haproxy without a master ends by it.
        if proxy.name not in ("haproxy", "envoy"):
            one.process.child.send_signal(signal.SIGHUP)
            values["reloaded"] = _resident(one, settle)
            until(one.process, "a right answer after the reload", 30, lambda: ask(one.target) == Answer(200, SMALL))
        return values
    finally:
        world.processes.end(one.process)


def _resident(one: Standing, settle: float) -> float:
    """When it has come to rest: the given time has passed, and then it has done next to nothing for a
    while, which is not waited for without end."""
    time.sleep(settle)
    for _ in range(round(settle * 20)):
        before = machine.core_time([one.process.session])
        time.sleep(0.25)
        if machine.core_time([one.process.session]).since(before)[0] < 0.005:
            break
    return machine.resident(one.process.session) / MIB
