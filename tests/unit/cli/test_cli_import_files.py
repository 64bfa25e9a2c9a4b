"""Files as streams of columns: what comes out is what was written, whatever the format and the size of chunks."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.cli.importing.files import WHITESPACE, Chunk, Layout, _Squeezed, fingerprint, read, sniff
from collectors.errors import BadInput, ConfigError

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00", exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(st.tuples(CELLS, CELLS.filter(bool), CELLS), min_size=1, max_size=30)


def _rows(chunks: Iterable[Chunk]) -> list[dict[str, Any]]:
    """Put chunks together again."""
    found: list[dict[str, Any]] = []
    for chunk in chunks:
        columns = {name: column.to_pylist() for name, column in chunk.columns.items()}
        found += [{name: values[i] for name, values in columns.items()} for i in range(chunk.rows)]
    return found


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@given(ROWS, st.sampled_from(",;\t|"), st.integers(1, 40))
def test_delimited_text_gives_the_cells_that_were_written(
    tmp_path: Path, rows: list[tuple[str, str, str]], delimiter: str, size: int
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    path = _write(tmp_path / "x.csv", buffer.getvalue().encode())
    chunks = list(read(path, Layout(delimiter=delimiter), size))
    assert [tuple(row.values()) for row in _rows(chunks)] == rows
    assert all(chunk.rows <= size for chunk in chunks)
    assert chunks[-1].done == 1.0
    assert not any(chunk.unreadable for chunk in chunks)


WORDS = st.text("abc019.-é", min_size=1, max_size=6)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=2, max_size=30), st.data())
def test_whitespace_tables_are_found_out_and_read(
    tmp_path: Path, rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    gap = st.text(" \t", min_size=1, max_size=4)
    lines = []
    for row in rows:
        edges = [data.draw(st.sampled_from(["", " ", "  \t"])) for _ in range(2)]
        cells = row[0] + data.draw(gap) + row[1] + data.draw(gap) + row[2]
        lines.append(edges[0] + cells + edges[1] + data.draw(st.sampled_from(["\n", "\r\n"])))
    path = _write(tmp_path / "x.txt", "".join(lines).encode())
    layout = Layout(("x", "y", "z"), WHITESPACE)
    assert [tuple(row.values()) for row in _rows(read(path, layout, 7))] == rows


@given(st.lists(st.text("ab \t\n", max_size=12), max_size=6), st.integers(1, 9))
def test_blanks_are_squeezed_whatever_the_sizes_of_reads(blocks: list[str], size: int) -> None:
    class Stream:
        def __init__(self) -> None:
            self.left = [block.encode() for block in blocks if block]
            self.closed = False

        def read(self, _: int) -> bytes:
            return self.left.pop(0) if self.left else b""

        def close(self) -> None:
            self.closed = True

    stream = Stream()
    squeezed = _Squeezed(stream)
    parts = []
    while part := squeezed.read(size):
        assert len(part) <= size
        parts.append(part)
    expected = ["\t".join(line.split(" ")) for line in _squeeze("".join(blocks))]
    assert b"".join(parts).decode() == "\n".join(expected)
    squeezed.close()
    assert stream.closed
    assert squeezed.closed


def _squeeze(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.split("\n")]


def test_whitespace_tables_have_headers_too(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.txt", b" id  date \r\n 00001 19970101  \r\n 00002 19970112\r\n")
    assert _rows(read(path, Layout(), 10)) == [
        {"id": "00001", "date": "19970101"},
        {"id": "00002", "date": "19970112"},
    ]


def test_empty_cells_are_missing_and_quoted_ones_are_empty(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.csv", b'\xef\xbb\xbfa,b\n,""\n1,"x\ny"\n')
    assert _rows(read(path, Layout(), 10)) == [{"a": None, "b": ""}, {"a": "1", "b": "x\ny"}]


def test_rows_of_another_length_are_kept_apart(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.csv", b"a,b\n1,2\n3\n4,5,6\n7,8\n")
    chunks = list(read(path, Layout(), 10))
    assert _rows(chunks) == [{"a": "1", "b": "2"}, {"a": "7", "b": "8"}]
    assert [line for chunk in chunks for line in chunk.unreadable] == [b"3", b"4,5,6"]


def test_a_file_of_nothing_but_bad_rows_still_tells_them(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.csv", b"a,b\n3\n4\n")
    (chunk,) = read(path, Layout(), 10)
    assert (chunk.rows, chunk.unreadable) == (0, (b"3", b"4"))


def test_large_files_come_in_several_blocks(tmp_path: Path) -> None:
    lines = [f"{i:07d} {'x' * 250}" for i in range(40_000)]
    path = _write(tmp_path / "x.txt", ("\n".join(lines)).encode())
    chunks = list(read(path, Layout(("n", "x"), WHITESPACE), 10_000))
    assert [row["n"] for row in _rows(chunks)] == [line[:7] for line in lines]
    shares = [chunk.done for chunk in chunks]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), st.integers(-9, 9), CELLS), min_size=1),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 9),
)
def test_json_lines_give_the_members_that_were_written(
    tmp_path: Path, objects: list[dict[str, Any]], size: int
) -> None:
    path = _write(tmp_path / "x.ndjson", "\n".join(json.dumps(o) for o in objects).encode())
    for start, chunk in zip(range(0, len(objects), size), read(path, Layout(), size), strict=True):
        for i, original in enumerate(objects[start : start + size]):
            for name in "abc":
                column = chunk.columns.get(name)
                value = None if column is None else column[i].as_py()
                given_ = original.get(name)
                mixed = column is not None and pa.types.is_string(column.type)
                assert value == (str(given_) if mixed and given_ is not None else given_)


def test_json_lines_keep_their_kinds_where_they_have_one(tmp_path: Path) -> None:
    lines = ['{"n": 1, "l": ["a"], "o": {"x": 1}, "m": 1, "b": 18446744073709551616}', '{"n": 2, "m": "x"}']
    path = _write(tmp_path / "x.jsonl", "\n".join(lines).encode())
    (chunk,) = read(path, Layout(), 10)
    assert chunk.columns["n"].to_pylist() == [1, 2]
    assert chunk.columns["l"].to_pylist() == [["a"], None]
    assert chunk.columns["o"].to_pylist() == ['{"x":1}', None]
    assert chunk.columns["m"].to_pylist() == ["1", "x"]


def test_lines_that_are_no_objects_are_kept_apart(tmp_path: Path) -> None:
    path = _write(tmp_path / "x", b'{"a": 1}\n{"a": \n[1]\n\n   \n{"a": 2}\n5')
    chunks = list(read(path, Layout(), 2))
    assert _rows(chunks) == [{"a": 1}, {"a": 2}]
    assert [line for chunk in chunks for line in chunk.unreadable] == [b'{"a": ', b"[1]", b"5"]


def test_one_json_list_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.json", b'[{"a": 1}]')
    with pytest.raises(BadInput, match=r"jq -c '\.\[\]'"):
        list(read(path, Layout(), 2))


def test_parquet_comes_with_its_types(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2, 3], "b": pa.array([["x"], None, []], pa.list_(pa.string()))})
    pq.write_table(table, tmp_path / "x.data")
    chunks = list(read(tmp_path / "x.data", Layout(), 2))
    assert [chunk.rows for chunk in chunks] == [2, 1]
    assert [chunk.done for chunk in chunks] == [2 / 3, 1.0]
    assert _rows(chunks) == table.to_pylist()


def test_broken_parquet_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read as parquet"):
        list(read(_write(tmp_path / "x", b"PAR1 and no more"), Layout(), 2))


@pytest.mark.parametrize("name", ["x.csv.gz", "x.ndjson.gz"])
def test_compressed_files_are_opened(tmp_path: Path, name: str) -> None:
    text = b"a,b\n1,2\n" if "csv" in name else b'{"a": "1", "b": "2"}\n'
    path = _write(tmp_path / name, gzip.compress(text))
    assert _rows(read(path, Layout(), 5)) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("name", ["x.csv", "x.ndjson", "x.txt"])
def test_other_encodings(tmp_path: Path, name: str) -> None:
    texts = {"x.csv": "a,b\né,ü\n", "x.ndjson": '{"a":"é","b":"ü"}\n', "x.txt": "a b\né ü\n"}
    path = _write(tmp_path / name, texts[name].encode("latin-1"))
    assert _rows(read(path, Layout(encoding="latin-1"), 5)) == [{"a": "é", "b": "ü"}]


@pytest.mark.parametrize(("content", "name"), [(b"a,b\n\xff\xff,1\n", "x.csv")])
def test_a_wrong_encoding_is_told(tmp_path: Path, content: bytes, name: str) -> None:
    with pytest.raises(BadInput, match="can't be read as csv"):
        list(read(_write(tmp_path / name, content), Layout(), 5))
    with pytest.raises(ConfigError, match="no encoding 'klingon'"):
        list(read(tmp_path / name, Layout(encoding="klingon"), 5))


def test_lines_in_a_wrong_encoding_are_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.ndjson", b'{"a":"\xc3"}\n')
    with pytest.raises(BadInput, match="is not utf-16"):
        list(read(path, Layout(encoding="utf-16"), 5))


def test_what_cannot_be_a_table_is_told(tmp_path: Path) -> None:
    assert list(read(_write(tmp_path / "empty", b""), Layout(), 5)) == []
    with pytest.raises(ConfigError, match="No such file"):
        list(read(tmp_path / "no", Layout(), 5))
    with pytest.raises(ConfigError, match="columns share a name"):
        list(read(_write(tmp_path / "twice", b"a,a\n1,2\n"), Layout(), 5))
    with pytest.raises(ConfigError, match="single character"):
        list(read(tmp_path / "twice", Layout(delimiter=",,"), 5))


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["a,b", "1,2"], ","),
        (["a;b", "1,5;2,5"], ";"),
        (["a\tb c", "1\t2"], "\t"),
        (["a|b", "1|2"], "|"),
        (["a b", "1   2"], WHITESPACE),
        (['"x,y";b', '"1";2'], ";"),
        (["a", "1"], WHITESPACE),
        (["a,b,c", "1,2"], ","),
        (["a b c", "1 2"], WHITESPACE),
    ],
)
def test_delimiters_are_found_out(lines: list[str], delimiter: str) -> None:
    assert sniff(lines) == delimiter


def test_a_long_beginning_is_sniffed_without_its_cut_line(tmp_path: Path) -> None:
    lines = [f"{'x' * 9000};{i}" for i in range(10)]
    path = _write(tmp_path / "x.csv", "\n".join(["a;b", *lines]).encode())
    assert [row["b"] for row in _rows(read(path, Layout(), 100))] == [str(i) for i in range(10)]


def test_fingerprints_are_of_the_content(tmp_path: Path) -> None:
    one, other = _write(tmp_path / "a", b"x"), _write(tmp_path / "b", b"x")
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(_write(other, b"y")) != fingerprint(one)
