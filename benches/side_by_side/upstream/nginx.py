"""nginx as the upstream: one worker that answers from memory and writes no log."""

import os
from pathlib import Path

from ..world import SMALL, World


def configuration(world: World, folder: Path) -> str:
    """Answers on three ports: in clear, with TLS, and as a token endpoint."""
    tls = ""
    if made := world.certificates:
        tls = f"""
        listen 127.0.0.1:{world.tls_port} ssl backlog=4096;
        ssl_certificate {made.certificate};
        ssl_certificate_key {made.key};
        ssl_protocols TLSv1.3;"""
    token = '{"access_token":"%s","token_type":"Bearer","expires_in":86400}' % world.token
    # `return` would answer an upload that has not arrived. A hop that leaves the body behind reads all of it first.
    return f"""{preamble(folder)}
    sendfile on;
    tcp_nopush on;
    client_body_buffer_size 2m;
    default_type application/octet-stream;
    map_hash_bucket_size 256;
    map $http_authorization $refused {{ default 1; "Bearer {world.token}" 0; }}
    upstream behind {{ server 127.0.0.1:{world.token_port}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{world.plain_port} backlog=4096;{tls}
        if ($refused) {{ return 401 "no token\\n"; }}
        location = /large {{ alias {folder}/large; }}
        location = /upload {{
            proxy_pass http://behind/small;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_method GET;
            proxy_pass_request_body off;
        }}
        location / {{ return 200 "{"x" * SMALL}"; }}
    }}
    server {{
        listen 127.0.0.1:{world.token_port} backlog=4096;
        default_type application/json;
        location = /token {{ return 200 '{token}'; }}
        location = /small {{ return 200 "{"x" * SMALL}"; }}
    }}
}}
"""


def preamble(folder: Path) -> str:
    """What every nginx of a run begins with, up to the inside of `http`: it writes into its folder only."""
    # As root the worker would otherwise be a user who cannot read this folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"    {kind}_temp_path {folder}/{kind};" for kind in kinds)
    return f"""{user}daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/pid;
events {{ worker_connections 15000; }}
http {{
{temporary}
    access_log off;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    client_max_body_size 0;"""
