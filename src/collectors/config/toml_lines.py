"""Find the line of every key in a TOML document: the standard parser gives values without their places."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable

KeyPath = tuple[str | int, ...]
"""Keys from the document's root; elements of arrays by their index."""

_SPACE = re.compile(r"[ \t]*")
_FILL = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|'[^']*'")
_PLAIN = re.compile(r"[^,\[\]{}#\r\n]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # up to two quotes may stand before the three that close it
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, counted from 1, on which each key, table and array element first stands.

    ``text`` must be valid TOML: this only walks over it, and does not judge it.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._last_element: dict[KeyPath, int] = {}
        self.lines: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip(_FILL):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._assignment(table)

    def _header(self) -> KeyPath:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        parts = self._key()
        self._at += brackets
        table: KeyPath = ()
        for number, part in enumerate(parts, start=1):
            table = (*table, part)
            self._note(table)
            if brackets == 2 and number == len(parts):
                self._last_element[table] = self._last_element.get(table, -1) + 1
            if table in self._last_element:
                table = (*table, self._last_element[table])
                self._note(table)
        return table

    def _assignment(self, table: KeyPath) -> None:
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        """Read a dotted key and the space around it."""
        parts = []
        while True:
            self._skip(_SPACE)
            match = _KEY.match(self._text, self._at)
            assert match is not None, "the document is valid"
            self._at = match.end()
            word = match.group()
            parts.append(next(iter(tomllib.loads(f"{word} = 0"))) if word[0] in "\"'" else word)
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        sign = self._text[self._at]
        if sign == "{":
            self._items("}", lambda _: self._assignment(path))
        elif sign == "[":
            self._items("]", lambda index: self._element((*path, index)))
        else:
            match = (_STRING if sign in "\"'" else _PLAIN).match(self._text, self._at)
            assert match is not None, "the document is valid"
            self._at = match.end()

    def _element(self, path: KeyPath) -> None:
        self._note(path)
        self._value(path)

    def _items(self, end: str, item: Callable[[int], None]) -> None:
        """Read what stands between the bracket here and ``end``, separated by commas."""
        self._at += 1
        index = 0
        while self._skip(_FILL) and self._text[self._at] != end:
            item(index)
            index += 1
            self._skip(_FILL)
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1

    def _skip(self, what: re.Pattern[str]) -> bool:
        """Go over ``what``; tell whether anything is left."""
        match = what.match(self._text, self._at)
        assert match is not None, "it also matches nothing"
        self._at = match.end()
        return self._at < len(self._text)

    def _note(self, path: KeyPath) -> None:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        self.lines.setdefault(path, self._line)
