"""haproxy: a field that stands in the configuration; connections to the upstream are shared by all callers."""

from pathlib import Path

from ..scenarios import Setting
from ..world import HOST, World
from . import upstreams


class Haproxy:
    """One thread, as it has one core."""

    name = "haproxy"

    def __init__(self, program: str) -> None:
        self._program = program

    def cannot(self, setting: Setting) -> str | None:
        return None if setting.entry == "reverse" else "no forward proxy"

    def command(self, world: World, setting: Setting, port: int, folder: Path) -> list[str]:
        every = upstreams(world, setting)
        bind = f"    bind 127.0.0.1:{port} backlog 4096"
        if setting.caller_http2:
            bind += " proto h2"
        made = world.certificates
        if setting.caller_tls and made:
            both = folder / "server.pem"
            both.touch(mode=0o600)
            both.write_text(made.certificate.read_text() + made.key.read_text())
            bind += f" ssl crt {both} alpn http/1.1 ssl-min-ver TLSv1.3"
        server = "pool-max-conn 256 pool-purge-delay 3600s"
        if setting.upstream_tls and made:
            server += f" ssl verify required ca-file {made.ca} sni str({HOST}) alpn http/1.1"
        names = folder / "backends.map"
        names.write_text("".join(f"{upstream.authority} {upstream.name}\n" for upstream in every))
        lines = ["global", "    nbthread 1", "    maxconn 12000", "    no strict-limits"]
        lines += ["defaults", "    mode http", "    option http-keep-alive", "    http-reuse always", "    timeout connect 5s"]
        lines += [f"    timeout {what} 3600s" for what in ("client", "server", "http-keep-alive")]
        lines += ["frontend callers", bind, f'    http-request set-header Authorization "Bearer {world.token}"']
        if len(every) > 1:
            lines.append(f"    use_backend %[req.hdr(host),lower,map({names})]")
        lines.append(f"    default_backend {every[0].name}")
        for upstream in every:
            lines += [f"backend {upstream.name}", f"    server it 127.0.0.1:{upstream.port} {server}"]
        file = folder / "haproxy.cfg"
        file.touch(mode=0o600)
        file.write_text("\n".join(lines) + "\n")
        return [self._program, "-db", "-f", str(file)]
