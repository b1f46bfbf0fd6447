"""A CA and a certificate for this run. Python's library makes none, so openssl does, or they come from elsewhere."""

import subprocess
from pathlib import Path

from .errors import Missing, Wrong
from .programs import Programs
from .world import Certificates

_CA = """
[req]
prompt = no
distinguished_name = name
x509_extensions = ca
[name]
CN = a CA of this benchmark
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
"""


def given(folder: Path) -> Certificates:
    """Files that were made elsewhere, for machines without openssl."""
    made = _named(folder)
    for path in (made.ca, made.ca_key, made.certificate, made.key):
        if not path.is_file():
            raise Missing(f"--certificates: {path} is not there; ca.pem, ca.key, server.pem and server.key are needed")
    return made


def made(folder: Path, programs: Programs) -> Certificates | None:
    """P-256, as most servers have it by now; `None` without openssl."""
    openssl = programs.path("openssl")
    if not openssl:
        return None
    (folder / "openssl.cnf").write_text(_CA)
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    for arguments in (
        ["req", "-x509", *new, "-config", "openssl.cnf", "-keyout", "ca.key", "-out", "ca.pem"],
        ["req", *new[:-2], "-subj", "/CN=localhost", "-config", "openssl.cnf", "-keyout", "server.key", "-out", "server.csr"],
        [
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            "openssl.cnf",
            "-extensions",
            "leaf",
            "-out",
            "server.pem",
        ],
    ):
        done = subprocess.run([openssl, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"openssl {' '.join(arguments)}:\n{done.stderr}")
    certificates = _named(folder)
    certificates.ca_key.chmod(0o600)
    return certificates


def _named(folder: Path) -> Certificates:
    folder = folder.resolve()
    return Certificates(folder / "ca.pem", folder / "ca.key", folder / "server.pem", folder / "server.key")
