"""Starts a proxy for a task, and looks that it does it, before anything is measured."""

import time
from dataclasses import dataclass

from .errors import Wrong
from .load.connection import Answer, Target, ask
from .processes import Process, free_port, until
from .proxies import Proxy, asked_for
from .scenarios import Setting
from .world import LARGE, SMALL, World

#: Ten thousand upstreams take some proxies long to read.
STARTING = 180.0

#: How long a proxy may answer otherwise than it should.
WRONG = 5.0


@dataclass(frozen=True)
class Standing:
    """A proxy that runs and answers rightly."""

    proxy: Proxy
    process: Process
    target: Target
    #: From its start to its first right answer.
    seconds: float


def stand(world: World, proxy: Proxy, setting: Setting) -> Standing:
    """Started on its core, and looked at. A proxy that answers wrongly is ended, and the error says what it answered."""
    port = free_port()
    folder = world.subfolder(f"proxy-{port}")
    command = proxy.command(world, setting, port, folder)
    target = _target(world, setting, port)
    process = world.processes.start(proxy.name, command, world.cores.proxy)
    try:
        began = time.monotonic()
        until(process, "its first right answer", STARTING, _First(proxy, target))
        seconds = time.monotonic() - began
        _answers_rightly(proxy, setting, target)
    except BaseException:
        world.processes.end(process)
        raise
    return Standing(proxy, process, target, seconds)


class _First:
    """Whether it answers rightly. It may need a moment for its token, but not for long once it speaks."""

    def __init__(self, proxy: Proxy, target: Target) -> None:
        self._proxy, self._target, self._spoke = proxy, target, 0.0

    def __call__(self) -> bool:
        got = ask(self._target)
        if got == Answer(200, SMALL):
            return True
        if got:
            self._spoke = self._spoke or time.monotonic()
            if time.monotonic() - self._spoke > WRONG:
                raise Wrong(f"{self._proxy.name} answers {self._target.path} with {got} in place of {Answer(200, SMALL)}")
        return False


def _target(world: World, setting: Setting, port: int) -> Target:
    made = world.certificates
    return Target(
        port,
        authority=asked_for(world, setting).authority,
        way={"reverse": "direct", "forward": "absolute"}.get(setting.entry, "tunnel"),
        outer_ca=str(made.ca) if made and setting.caller_tls else "",
        inner_ca=str(made.ca) if made and setting.entry == "intercept" else "",
        authorization=f"Bearer {world.token}" if setting.entry == "tunnel" else "",
        http2=setting.caller_http2,
    )


def _answers_rightly(proxy: Proxy, setting: Setting, target: Target) -> None:
    wanted = [(target, Answer(200, SMALL))]
    if not target.http2:
        wanted += [(target.at("/large"), Answer(200, LARGE)), (target.at("/upload", LARGE), Answer(200, SMALL))]
    if setting.entry == "tunnel":
        # Nothing is put on, so what the caller has no token for is refused by the upstream itself.
        wanted.append((target.bare(), Answer(401, len("no token\n"))))
    for asked, right in wanted:
        if (got := ask(asked)) != right:
            raise Wrong(f"{proxy.name} answered {asked.path} ({setting.entry}) with {got} in place of {right}")
