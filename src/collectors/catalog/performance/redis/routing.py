"""Ask about keys, wherever in a cluster they are; and walk through keys in small steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collectors.clock import Clock
from collectors.drivers.redis import Command, RedisSource, Refusal, Reply

PAGE = 100
"""Keys a server looks at in one step: some tens of microseconds of its time."""


async def ask(source: RedisSource, commands: Sequence[Command]) -> Mapping[Command, Reply]:
    """Return each command's reply; what another node of the cluster is to be asked for, it is asked for."""
    if not commands:
        return {}
    replies = dict(zip(commands, await source.ask(commands), strict=True))
    elsewhere: dict[str, list[Command]] = {}
    for command, reply in replies.items():
        if isinstance(reply, Refusal) and reply.node:
            elsewhere.setdefault(reply.node, []).append(command)
    for node, moved in elsewhere.items():
        replies |= zip(moved, await source.ask(moved, node), strict=True)
    return replies


class Walk:
    """A way through all keys of a server, some each time, that goes on where it stopped.

    A step of SCAN looks at ``PAGE`` keys however few it returns, so that steps are what is counted; the server serves
    others between two of them. What a walk has seen is a fair sample: SCAN goes by hash, not by name or age.
    """

    def __init__(self, *conditions: str) -> None:
        self._conditions = conditions
        self._cursor = "0"
        self.refusal: Refusal | None = None
        """Why the last walk ended early, if the server said no."""

    async def go(self, source: RedisSource, clock: Clock, steps: int, seconds: float) -> list[str]:
        """Return the keys of the next ``steps``, each once, within ``seconds``; fewer at the end of the way."""
        self.refusal = None
        until = clock.monotonic() + seconds
        keys: dict[str, None] = {}
        for _ in range(steps):
            [reply] = await source.ask([("SCAN", self._cursor, *self._conditions, "COUNT", str(PAGE))])
            if isinstance(reply, Refusal):
                self._cursor, self.refusal = "0", reply
                break
            self._cursor, found = reply
            keys |= dict.fromkeys(found)
            if self._cursor == "0" or clock.monotonic() >= until:
                break
        return list(keys)
