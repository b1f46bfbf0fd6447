"""Callers who keep their connections and ask nothing, from the side of what measures."""

import json

from ..errors import Wrong
from ..processes import python
from ..world import World
from .connection import Target
from .drive import talk


class Waiting:
    """So many connections, opened one after the other, each answered once."""

    def __init__(self, world: World, target: Target, count: int = 0) -> None:
        self._world = world
        self._process = world.processes.start(
            "waiting", python("load.waiting", json.dumps(target.fields())), world.cores.load, piped=True
        )
        try:
            self.grow(count)
        except BaseException:
            self.end()
            raise

    def grow(self, count: int) -> None:
        """Until there are so many."""
        self._expect(str(count), str(count))

    def ask_again(self) -> None:
        """Some of them, to see that they are connections still."""
        self._expect("ask", None)

    def close(self) -> None:
        """All of them at once, as when a network goes away in good order."""
        self._expect("close", "closed")

    def end(self) -> None:
        """With the program that holds them."""
        self._world.processes.end(self._process)

    def _expect(self, say: str, wanted: str | None) -> None:
        said = talk(self._process, say)
        if not said or (wanted and said != wanted):
            raise Wrong(f"of callers that wait, {say!r} ended in {said!r}:\n{self._process.said()}")
