"""What all proxies of a run share: a folder, a token, certificates, cores, and the upstream."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from .machine import Cores
from .processes import Process, Processes
from .programs import Programs

#: A small and a large answer. The small one is an API's, of which a proxy's own work is most of what it costs.
SMALL, LARGE = 1024, 1024 * 1024

#: What the upstream's certificate is for.
HOST = "localhost"


@dataclass(frozen=True)
class Certificates:
    """PEM files: a CA, its key, and what it has issued for `localhost` and 127.0.0.1."""

    ca: Path
    ca_key: Path
    certificate: Path
    key: Path


@dataclass
class World:
    """Made once for a run, and handed to everything in it."""

    folder: Path
    programs: Programs
    processes: Processes
    cores: Cores
    certificates: Certificates | None
    #: New for each run. What does not carry it is refused, so that an answer proves that it was put on.
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    #: Ports of the upstream in clear and with TLS, and of the token endpoint.
    plain_port: int = 0
    tls_port: int = 0
    token_port: int = 0
    #: Without it all proxies would answer wrongly, and none of them would be to blame.
    upstream: Process | None = None

    def write(self, name: str, text: str) -> Path:
        """A file that others on this machine cannot read."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def subfolder(self, name: str) -> Path:
        """A folder of the same kind."""
        path = self.folder / name
        path.mkdir(mode=0o700)
        return path
