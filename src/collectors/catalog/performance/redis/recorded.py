"""A deployment that answers from files.

``info.txt`` is what INFO answers, ``replies.json`` maps commands, written with blanks, to replies; one of the form
``{"refused": "NOPERM ..."}`` is a refusal. What is not in it, the server does not know. Other nodes have such files in
``nodes/<host>_<port>/``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from collectors.drivers.redis import Command, Refusal, Reply
from collectors.errors import SourceUnavailable

_OF_ITSELF = {"PING": "PONG"}


class RecordedRedis:
    """Answers what files say."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def ask(self, commands: Sequence[Command], node: str = "") -> list[Reply]:
        """Return the recorded replies."""
        folder = self._folder / "nodes" / node.replace(":", "_") if node else self._folder
        info = folder / "info.txt"
        if not info.exists():
            raise SourceUnavailable(f"{node or 'the server'} refused the connection; look whether it runs")
        try:
            replies = json.loads((folder / "replies.json").read_text()) if (folder / "replies.json").exists() else {}
        except ValueError:
            raise SourceUnavailable("what was recorded of the server is no JSON; record it anew") from None
        told = {**_OF_ITSELF, **replies} if isinstance(replies, dict) else _OF_ITSELF
        text = info.read_text()
        return [text if command[0] == "INFO" and "INFO" not in told else _reply(told, command) for command in commands]

    async def close(self) -> None:
        """Do nothing: nothing is held."""


def _reply(told: dict[str, Reply], command: Command) -> Reply:
    line = " ".join(command)
    if line not in told:
        return Refusal.of("ERR unknown command")
    reply = told[line]
    return Refusal.of(str(reply["refused"])) if isinstance(reply, dict) else reply
