"""Where keys stand in TOML, against documents whose lines are known because the test wrote them."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.config.toml_lines import KeyPath, key_lines

NAMES = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.text("ab.#[]={}'\"\\ é\n", max_size=6))
TEXTS = st.text("ab\"'\\#[]{},=\n é", max_size=12)
SCALARS = st.one_of(TEXTS, st.integers(-5, 5), st.booleans())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
TABLES = st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=4)


def _key(name: str, draw: st.DataObject) -> str:
    bare = name and all(c.isascii() and (c.isalnum() or c in "_-") for c in name)
    if bare and draw.draw(st.booleans()):
        return name
    if "'" not in name and "\n" not in name and draw.draw(st.booleans()):
        return f"'{name}'"
    return json.dumps(name, ensure_ascii=False)


def _text(value: str, draw: st.DataObject) -> str:
    style = draw.draw(st.sampled_from(["basic", "literal", "long", "long literal"]))
    if style == "literal" and "'" not in value and "\n" not in value:
        return f"'{value}'"
    if style == "long":
        escaped = value.replace("\\", "\\\\")
        # A quote may stand next to the closing ones, but three must not stand together before them.
        return f'"""\n{escaped}"""' if '"""' not in f"{escaped} " and not escaped.endswith('"""') else json.dumps(value)
    if style == "long literal" and "'" not in value:
        return f"'''\n{value}'''"
    return json.dumps(value, ensure_ascii=False)


class _Writer:
    """Writes TOML, and notes on which line it began each key."""

    def __init__(self, draw: st.DataObject) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def gap(self, choices: tuple[str, ...]) -> None:
        self.text += self.draw.draw(st.sampled_from(choices))

    def value(self, value: Any, path: KeyPath) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for number, (name, inner) in enumerate(value.items()):
                self.text += ", " if number else " "
                self.note((*path, name))
                self.text += _key(name, self.draw) + " = "
                self.value(inner, (*path, name))
            self.text += " }"
        elif isinstance(value, list):
            self.text += "["
            for index, inner in enumerate(value):
                self.gap(("", " ", "\n", " # ] , \n\t"))
                self.note((*path, index))
                self.value(inner, (*path, index))
                self.gap((",", " ,", " # ,\n,"))
            self.gap(("", "\n"))
            self.text += "]"
        elif isinstance(value, str):
            self.text += _text(value, self.draw)
        else:
            self.text += json.dumps(value)

    def document(self, tables: dict[str, dict[str, Any]]) -> None:
        for name, table in tables.items():
            self.gap(("", "\n", "# [no] = 1\n", "  \n"))
            self.note((name,))
            self.text += f"[ {_key(name, self.draw)} ]"
            self.gap(("\n", " # comment\n"))
            for key, value in table.items():
                self.gap(("", "\n", "\t# k = 2\n"))
                self.note((name, key))
                self.text += f"{_key(key, self.draw)}\t= "
                self.value(value, (name, key))
                self.gap(("\n", " # x\n"))


@given(TABLES, st.data())
def test_lines_are_those_on_which_the_keys_were_written(tables: dict[str, Any], data: st.DataObject) -> None:
    writer = _Writer(data)
    writer.document(tables)
    assert tomllib.loads(writer.text) == tables  # else the test writes something else than it thinks
    assert key_lines(writer.text) == writer.lines


EXAMPLE = '''\
# a comment
a = 1 # [x]
b.c."d.e" = """x
[no]
"""""

[ t . 'u v' ] # h
when = 1979-05-27 07:32:00Z
[[list]]
n = 1
[[list]]
  n = { a.b = 1 }
[list.sub]
v = "a\\"]"
[[list.deep]]
w = []
'''


def test_tables_dotted_keys_and_arrays_of_tables() -> None:
    tomllib.loads(EXAMPLE)
    assert key_lines(EXAMPLE) == {
        ("a",): 2,
        ("b",): 3,
        ("b", "c"): 3,
        ("b", "c", "d.e"): 3,
        ("t",): 7,
        ("t", "u v"): 7,
        ("t", "u v", "when"): 8,
        ("list",): 9,
        ("list", 0): 9,
        ("list", 0, "n"): 10,
        ("list", 1): 11,
        ("list", 1, "n"): 12,
        ("list", 1, "n", "a"): 12,
        ("list", 1, "n", "a", "b"): 12,
        ("list", 1, "sub"): 13,
        ("list", 1, "sub", "v"): 14,
        ("list", 1, "deep"): 15,
        ("list", 1, "deep", 0): 15,
        ("list", 1, "deep", 0, "w"): 16,
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", " \t# x\n "])
def test_documents_without_keys_have_none(text: str) -> None:
    assert key_lines(text) == {}
