"""What is measured. Each row is one task for the proxies, and one way to ask for it."""

from dataclasses import dataclass, field, replace
from typing import Any

from .world import LARGE


@dataclass(frozen=True)
class Setting:
    """The task that a proxy is configured for."""

    #: "reverse": stands in for the upstream; "forward": asked with absolute URLs; "tunnel": asked to CONNECT, and passes on
    #: what is inside unread; "intercept": asked to CONNECT, and puts a token on what is inside of TLS.
    entry: str = "reverse"
    caller_http2: bool = False
    caller_tls: bool = False
    upstream_tls: bool = False
    #: Configured upstreams, of which one is asked for. With more than one they are told apart by Host.
    upstreams: int = 1
    #: Each upstream has an OAuth client of its own.
    own_credentials: bool = False


@dataclass(frozen=True)
class Load:
    """What callers ask."""

    connections: int
    path: str = "/small"
    upload: int = 0
    #: Streams at once on each connection, over HTTP/2; 0: over HTTP/1.1.
    streams: int = 0
    #: A connection for each request.
    new: bool = False
    #: Connections that ask nothing meanwhile.
    waiting: int = 0


@dataclass(frozen=True)
class Scenario:
    """One row of the tables, or one table."""

    name: str
    about: str
    setting: Setting = field(default_factory=Setting)
    #: `None`: not time under load is looked at.
    load: Load | None = None
    #: "load", "memory" or "start": what one turn is.
    kind: str = "load"
    #: What the time is divided by.
    unit: str = "request"

    @property
    def needs_certificates(self) -> bool:
        """Interception needs them too, and has TLS to the upstream."""
        return self.setting.upstream_tls or self.setting.caller_tls


@dataclass(frozen=True)
class Scale:
    """How many is many."""

    waiting: int = 10_000
    beside: int = 9_000
    upstreams: int = 10_000

    @property
    def descriptors(self) -> int:
        """A proxy that keeps one for the upstream beside each caller's needs twice as many, and has them in plenty."""
        return 3 * (max(self.waiting, self.beside) + 2_000)

    def within(self, descriptors: int) -> "Scale":
        """No more callers than so many descriptors are enough for."""
        most = max(100, (descriptors // 2 - 1_000) // 100 * 100)
        return replace(self, waiting=min(self.waiting, most), beside=min(self.beside, most))


#: For a look whether all of it works.
QUICK = Scale(waiting=200, beside=200, upstreams=200)


def scenarios(scale: Scale) -> list[Scenario]:
    """All of them, in the order of the tables."""
    kept, many = Load(64), scale.upstreams
    return [
        _loaded("small64", "1 KiB GET, 64 connections that are kept", kept),
        _loaded("tls64", "the same, TLS 1.3 to the upstream", kept, upstream_tls=True),
        _loaded("fwd64", "the same, through a forward proxy: absolute URLs", kept, entry="forward"),
        _loaded("h2c64", "1 KiB GET over HTTP/2 in clear, 8 connections with 8 streams", Load(8, streams=8), caller_http2=True),
        _loaded("new64", "1 KiB GET, a connection for each, 64 at once", Load(64, new=True)),
        _loaded("big8", "1 MiB answers, 8 connections", Load(8, "/large"), "MiB"),
        _loaded("upload8", "1 MiB POSTs, 8 connections", Load(8, "/upload", upload=LARGE), "MiB"),
        *_tunnels("tunnel", "passed unread", "1 KiB GET inside of CONNECT", entry="tunnel"),
        *_tunnels("mitm", "opened with a CA", "1 KiB GET inside of TLS inside of CONNECT", entry="intercept", upstream_tls=True),
        Scenario(
            "rss",
            f"memory with 0, {scale.waiting // 10:,} and {scale.waiting:,} callers that wait, and after them",
            kind="memory",
        ),
        Scenario("rss_h2", "the same over HTTP/2 in clear", Setting(caller_http2=True), kind="memory"),
        Scenario("rss_tls", "the same with TLS towards callers", Setting(caller_tls=True), kind="memory"),
        _loaded("grow", "small64 with 2 upstreams told apart by Host, beside which the next three stand", kept, upstreams=2),
        _loaded(
            "grow_waiting", f"the same beside {scale.beside:,} callers that wait", Load(64, waiting=scale.beside), upstreams=2
        ),
        _loaded("grow_upstreams", f"the same with {many:,} upstreams", kept, upstreams=many),
        _loaded("grow_both", "the same with both", Load(64, waiting=scale.beside), upstreams=many),
        Scenario(
            "start",
            f"{many:,} upstreams, of attache's each with an OAuth client: time to the first answer; memory, and after a reload",
            Setting(upstreams=many, own_credentials=True),
            kind="start",
        ),
    ]


def _tunnels(name: str, how: str, small: str, **setting: Any) -> list[Scenario]:
    return [
        _loaded(name, f"{small}, {how}, 16 tunnels", Load(16), **setting),
        _loaded(f"{name}_big", "1 MiB answers the same way, 4 tunnels", Load(4, "/large"), "MiB", **setting),
        _loaded(f"{name}_new", "a tunnel for each request", Load(16, new=True), "tunnel", **setting),
    ]


def _loaded(name: str, about: str, load: Load, unit: str = "request", **setting: Any) -> Scenario:
    return Scenario(name, about, Setting(**setting), load, unit=unit)
