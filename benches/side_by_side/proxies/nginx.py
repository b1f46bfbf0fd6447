"""nginx: a field that stands in the configuration; bodies pass without being kept in files."""

from pathlib import Path

from ..scenarios import Setting
from ..upstream.nginx import preamble
from ..world import HOST, World
from . import upstreams


class Nginx:
    """A master and one worker, as packages start it."""

    name = "nginx"

    def __init__(self, program: str, version: str) -> None:
        self._program = program
        # From 1.25.1 on a port in clear speaks both versions; before, it speaks the one it is told.
        self._both = tuple(int(part) for part in version.split(".") if part.isdigit()) >= (1, 25, 1)

    def cannot(self, setting: Setting) -> str | None:
        return None if setting.entry == "reverse" else "no forward proxy"

    def command(self, world: World, setting: Setting, port: int, folder: Path) -> list[str]:
        every = upstreams(world, setting)
        scheme = "https" if setting.upstream_tls else "http"
        listen = f"listen 127.0.0.1:{port} backlog=4096"
        http2 = "http2 on;" if setting.caller_http2 and self._both else ""
        if setting.caller_http2 and not self._both:
            listen += " http2"
        tls = ""
        if setting.caller_tls and (made := world.certificates):
            listen += " ssl"
            tls = f"ssl_certificate {made.certificate}; ssl_certificate_key {made.key}; ssl_protocols TLSv1.3;"
        lines = [preamble(folder), "server_names_hash_max_size 65536; server_names_hash_bucket_size 128;"]
        lines += ["proxy_http_version 1.1; proxy_request_buffering off; proxy_max_temp_file_size 0;"]
        lines += ['proxy_set_header Connection ""; proxy_set_header Host $http_host;']
        lines += ["proxy_buffer_size 16k; proxy_buffers 16 16k; proxy_busy_buffers_size 64k;"]
        lines += [f'proxy_set_header Authorization "Bearer {world.token}";', http2, tls]
        if setting.upstream_tls and (made := world.certificates):
            lines += [f"proxy_ssl_trusted_certificate {made.ca}; proxy_ssl_verify on; proxy_ssl_server_name on;"]
            lines += [f"proxy_ssl_name {HOST}; proxy_ssl_protocols TLSv1.3;"]
        for number, upstream in enumerate(every):
            lines.append(
                f"upstream {upstream.name} {{ server 127.0.0.1:{upstream.port}; keepalive 64; keepalive_requests 1000000000; }}"
            )
            # What concerns the socket is said once.
            where = listen if number == 0 else f"listen 127.0.0.1:{port}"
            lines.append(
                f"server {{ {where}; server_name {upstream.host}; location / {{ proxy_pass {scheme}://{upstream.name}; }} }}"
            )
        file = folder / "nginx.conf"
        file.write_text("\n".join(lines) + "\n}\n")
        file.chmod(0o600)
        return [self._program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)]
