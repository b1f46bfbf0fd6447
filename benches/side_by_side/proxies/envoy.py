"""Envoy: its credential injector, with a secret that stands in the configuration."""

import json
from pathlib import Path
from typing import Any

from ..scenarios import Setting
from ..world import HOST, World
from . import Upstream, upstreams

_TYPES = "type.googleapis.com/envoy.extensions"


class Envoy:
    """Configured by a file that is read once; nothing is discovered."""

    name = "envoy"

    def __init__(self, program: str) -> None:
        self._program = program

    def cannot(self, setting: Setting) -> str | None:
        return "opens no tunnels" if setting.entry == "intercept" else None

    def command(self, world: World, setting: Setting, port: int, folder: Path) -> list[str]:
        every = upstreams(world, setting)
        listener: dict[str, Any] = {"name": "callers", "address": _address(port)}
        chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": self._manager(setting, every)}]}
        if setting.caller_tls and (made := world.certificates):
            certificate = {"certificate_chain": _file(made.certificate), "private_key": _file(made.key)}
            context = {"tls_certificates": [certificate], "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"}}
            chain["transport_socket"] = _tls("Downstream", context)
        listener["filter_chains"] = [chain]
        clusters = [self._cluster(world, setting, upstream) for upstream in every]
        secret = {"name": "token", "generic_secret": {"secret": {"inline_string": f"Bearer {world.token}"}}}
        resources = {"listeners": [listener], "clusters": clusters, "secrets": [secret]}
        file = folder / "envoy.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"static_resources": resources}))
        return [self._program, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]

    def _manager(self, setting: Setting, every: list[Upstream]) -> dict[str, Any]:
        hosts = [
            {"name": upstream.name, "domains": [upstream.host, upstream.authority], "routes": self._routes(setting, upstream)}
            for upstream in every
        ]
        router = {"name": "router", "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"}}
        filters = [router] if setting.entry == "tunnel" else [self._injector(), router]
        manager = {
            "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "callers",
            "codec_type": "HTTP2" if setting.caller_http2 else "HTTP1",
            "route_config": {"virtual_hosts": hosts},
            "http_filters": filters,
            "common_http_protocol_options": {"idle_timeout": "3600s"},
        }
        if setting.entry == "tunnel":
            manager["upgrade_configs"] = [{"upgrade_type": "CONNECT"}]
        return manager

    def _routes(self, setting: Setting, upstream: Upstream) -> list[dict[str, Any]]:
        route: dict[str, Any] = {"cluster": upstream.name, "timeout": "60s"}
        if setting.entry == "tunnel":
            route |= {"timeout": "0s", "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}
            return [{"match": {"connect_matcher": {}}, "route": route}]
        return [{"match": {"prefix": "/"}, "route": route}]

    def _injector(self) -> dict[str, Any]:
        credential = {"@type": f"{_TYPES}.http.injected_credentials.generic.v3.Generic", "credential": {"name": "token"}}
        injector = {
            "@type": f"{_TYPES}.filters.http.credential_injector.v3.CredentialInjector",
            "overwrite": True,
            "credential": {"name": "envoy.http.injected_credentials.generic", "typed_config": credential},
        }
        return {"name": "credential_injector", "typed_config": injector}

    def _cluster(self, world: World, setting: Setting, upstream: Upstream) -> dict[str, Any]:
        endpoint = {"endpoint": {"address": _address(upstream.port)}}
        cluster: dict[str, Any] = {
            "name": upstream.name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {"cluster_name": upstream.name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        }
        if setting.upstream_tls and (made := world.certificates):
            names = [{"san_type": "DNS", "matcher": {"exact": HOST}}]
            trust = {"trusted_ca": _file(made.ca), "match_typed_subject_alt_names": names}
            common = {"validation_context": trust, "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}}
            cluster["transport_socket"] = _tls("Upstream", common, {"sni": HOST})
        return cluster


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _file(path: Path) -> dict[str, str]:
    return {"filename": str(path)}


def _tls(side: str, common: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    kind = f"{_TYPES}.transport_sockets.tls.v3.{side}TlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": common, **(more or {})}}
