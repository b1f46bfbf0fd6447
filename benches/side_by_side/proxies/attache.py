"""attache: the token is fetched from a token endpoint, as it is meant to be."""

from pathlib import Path

from ..scenarios import Setting
from ..world import World
from . import Upstream, upstreams


class Attache:
    """One binary. Several are told apart by the names that the command line gives them."""

    def __init__(self, name: str, binary: Path) -> None:
        self.name, self.binary = name, binary

    def cannot(self, setting: Setting) -> str | None:
        return None

    def command(self, world: World, setting: Setting, port: int, folder: Path) -> list[str]:
        every = upstreams(world, setting)
        mode = "reverse" if setting.entry == "reverse" else "forward"
        lines = ["[listeners.load]", f'address = "127.0.0.1:{port}"', f'mode = "{mode}"']
        if mode == "reverse":
            names = ", ".join(f'"{upstream.name}"' for upstream in every)
            lines.append(f"upstreams = [{names}]")
        if setting.caller_tls and (made := world.certificates):
            lines.append(f'tls = {{ certificate = "{made.certificate}", key = "{made.key}" }}')
        if setting.entry == "intercept" and (made := world.certificates):
            lines += ["[intercept]", f'ca_certificate = "{made.ca}"', f'ca_key = "{made.ca_key}"']
        # As for the peers: more than will come, so that nobody is sent away.
        lines += ["[limits]", "connections = 12000", 'keep_alive = "3600s"']
        for upstream in every:
            lines += self._upstream(world, setting, upstream)
        for number in range(len(every) if setting.own_credentials else 1):
            lines += [f"[credentials.client-{number}]", f'token_endpoint = "http://127.0.0.1:{world.token_port}/token"']
            lines += [f'client_id = "client-{number}"', 'client_secret = { file = "secret" }']
        (folder / "secret").write_text("a secret of this run")
        (folder / "proxy.toml").write_text("\n".join(lines) + "\n")
        return [str(self.binary), "run", "--config", str(folder / "proxy.toml")]

    def _upstream(self, world: World, setting: Setting, upstream: Upstream) -> list[str]:
        scheme = "https" if setting.upstream_tls else "http"
        lines = [f"[upstreams.{upstream.name}]", f'origin = "{scheme}://{upstream.authority}"']
        # Not a name's lookup is measured, and for all proxies the same address.
        lines.append(f'connect = "127.0.0.1:{upstream.port}"')
        if setting.entry != "tunnel":
            # A tunnel to an upstream without a credential passes unread.
            number = upstream.name.removeprefix("api-") if setting.own_credentials else "0"
            lines.append(f'credential = "client-{number}"')
        if setting.upstream_tls and (made := world.certificates):
            lines.append(f'tls = {{ ca_file = "{made.ca}" }}')
        if setting.upstreams > 1:
            # Names that are not this machine's, though they lead to it.
            lines.append("allow_plaintext = true")
        return lines
