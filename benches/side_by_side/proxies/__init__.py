"""How each proxy is configured for the same task. A peer is given what a careful administrator gives it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..scenarios import Setting
from ..world import HOST, World


class Proxy(Protocol):
    """One program that is measured."""

    #: The column of the tables.
    name: str

    def cannot(self, setting: Setting) -> str | None:
        """Why it is left out of this task, if it is."""

    def command(self, world: World, setting: Setting, port: int, folder: Path) -> list[str]:
        """Writes its configuration and says how it is started in the foreground."""


@dataclass(frozen=True)
class Upstream:
    """One of those that a proxy is configured with; all of them are the same server."""

    name: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"


def upstreams(world: World, setting: Setting) -> list[Upstream]:
    """One by the name of this machine, or as many names as there are to be."""
    port = world.tls_port if setting.upstream_tls else world.plain_port
    if setting.upstreams == 1:
        return [Upstream("api", HOST, port)]
    return [Upstream(f"api-{number}", f"api-{number}.test", port) for number in range(setting.upstreams)]


def asked_for(world: World, setting: Setting) -> Upstream:
    """The one in the middle of the list, so that neither the first nor the last is flattered."""
    every = upstreams(world, setting)
    return every[len(every) // 2]
