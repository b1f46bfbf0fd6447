"""The server behind the proxies, and the token endpoint: nginx where it is there, since the load must not wait for it.

Whatever lacks the run's token is refused. So each answer that is counted proves that the proxy put the token on.
"""

from ..errors import Wrong
from ..load.connection import Target, ask
from ..processes import free_port, python, until
from ..world import LARGE, SMALL, World
from .nginx import configuration


def start(world: World) -> None:
    """Starts it on the core of the load, and looks that it refuses and accepts what it should."""
    world.plain_port, world.tls_port, world.token_port = free_port(), free_port(), free_port()
    if nginx := world.programs.path("nginx"):
        folder = world.subfolder("upstream")
        (folder / "large").write_bytes(b"x" * LARGE)
        file = world.write("upstream/nginx.conf", configuration(world, folder))
        argv = [nginx, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)]
    else:
        ports = [str(world.plain_port), str(world.token_port), world.token]
        made = world.certificates
        tls = [str(world.tls_port), str(made.certificate), str(made.key)] if made else []
        argv = python("upstream.server", *ports, *tls)
    process = world.upstream = world.processes.start("upstream", argv, world.cores.load)
    target = Target(world.plain_port)
    until(process, "the upstream's first answer", 15, lambda: ask(target) is not None)
    _refuses_what_it_should(world)


def _refuses_what_it_should(world: World) -> None:
    for path, size in (("/small", SMALL), ("/large", LARGE)):
        for field, status in (("", 401), ("Bearer another", 401), (f"Bearer {world.token}", 200)):
            answer = ask(Target(world.plain_port, path, authorization=field))
            if answer is None or answer.status != status or (status == 200 and answer.size != size):
                raise Wrong(f"the upstream itself answered {path} with {answer} where {status} was expected")
