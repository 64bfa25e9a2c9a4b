"""Read Parquet, delimited text and NDJSON as a stream of columns, however large the file is."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from collectors.errors import BadInput, ConfigError

_HEAD_BYTES = 65_536
_BLOCK_BYTES = 4 * 2**20
_SNIFFED_LINES = 20
_DELIMITERS = (",", ";", "\t", "|")
WHITESPACE = "whitespace"

_RUN = re.compile(rb"[ \t]+")
_EDGES = re.compile(rb"^[ \t]+|[ \t\r]+$", re.MULTILINE)
_CODECS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
_NDJSON = frozenset({".ndjson", ".jsonl", ".json", ".jsonlines"})


class Form(StrEnum):
    """Kinds of files."""

    PARQUET = "parquet"
    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text file is to be read where it does not say so itself."""

    names: tuple[str, ...] = ()
    """Names of the columns; the file then has no header."""
    delimiter: str | None = None
    """One character, or ``whitespace``; None finds it out."""
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a file as columns, and the lines between them that can't be read.

    ``done`` is the share of the file that was read.
    """

    columns: Mapping[str, pa.Array]
    rows: int
    unreadable: tuple[bytes, ...]
    done: float


def fingerprint(path: Path) -> str:
    """Return a text that is the same for files of the same content, whatever they are called."""
    with _opened(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def read(path: Path, layout: Layout, rows: int) -> Iterator[Chunk]:
    """Yield a file in chunks of at most ``rows``; raises BadInput or ConfigError if it can't be read as a table."""
    form, head = _recognised(path)
    chunks = {Form.PARQUET: _parquet, Form.NDJSON: _ndjson, Form.CSV: _csv}[form](path, head, layout, rows)
    try:
        yield from chunks
    except pa.ArrowInvalid as error:
        raise BadInput(f"{path} can't be read as {form}: {error}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not {layout.encoding}; name its encoding by --encoding, such as latin-1") from None


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}", fix="name another file.") from None


def _recognised(path: Path) -> tuple[Form, bytes]:
    """Tell what kind of file it is, by its name and by how it begins."""
    _opened(path).close()
    with _stream(pa.OSFile(str(path)), path) as stream:
        head: bytes = stream.read(_HEAD_BYTES)
    if head[:4] == b"PAR1":
        return Form.PARQUET, head
    ending = path.with_suffix("").suffix if path.suffix in _CODECS else path.suffix
    if head.lstrip()[:1] == b"[" and ending in _NDJSON:
        raise BadInput(f"{path} is one JSON list; write one object a line, for example with: jq -c '.[]'")
    return Form.NDJSON if ending in _NDJSON or head.lstrip()[:1] == b"{" else Form.CSV, head


def _stream(raw: pa.OSFile, path: Path) -> Any:
    codec = _CODECS.get(path.suffix)
    return pa.CompressedInputStream(raw, codec) if codec else raw


def _parquet(path: Path, _head: bytes, _layout: Layout, rows: int) -> Iterator[Chunk]:
    with pq.ParquetFile(path) as file:
        total, seen = max(1, file.metadata.num_rows), 0
        for batch in file.iter_batches(batch_size=rows):
            seen += batch.num_rows
            yield Chunk(dict(zip(batch.schema.names, batch.columns, strict=True)), batch.num_rows, (), seen / total)


def _csv(path: Path, head: bytes, layout: Layout, rows: int) -> Iterator[Chunk]:
    lines = _first_lines(head, layout.encoding)
    if not lines:
        return
    delimiter = layout.delimiter or sniff(lines)
    if delimiter != WHITESPACE and len(delimiter) != 1:
        raise ConfigError("it is no single character", where="--delimiter", fix=f"give one, or {WHITESPACE}.")
    names = layout.names or _split(lines[0], delimiter)
    if len(set(names)) < len(names):
        raise ConfigError("columns share a name", where=str(path), fix="name them by --columns.")
    unreadable: list[bytes] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        unreadable.append(row.text.encode())
        return "skip"

    size = max(1, path.stat().st_size)
    raw = pa.OSFile(str(path))
    stream = _stream(raw, path)
    spaced = delimiter == WHITESPACE
    reader = pa.csv.open_csv(
        pa.PythonFile(_Squeezed(stream), mode="r") if spaced else stream,
        pa.csv.ReadOptions(
            block_size=_BLOCK_BYTES,
            column_names=names,
            skip_rows=0 if layout.names else 1,
            encoding=layout.encoding,
            use_threads=False,
        ),
        pa.csv.ParseOptions(
            delimiter="\t" if spaced else delimiter,
            quote_char=False if spaced else '"',
            newlines_in_values=not spaced,
            invalid_row_handler=skip,
        ),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),  # what a text means is for the mapping to say
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=False,
        ),
    )
    with reader:
        for batch in reader:
            done = min(1.0, raw.tell() / size) if not raw.closed else 1.0
            for part in _sliced(batch, rows):
                bad, unreadable[:] = tuple(unreadable), ()
                yield Chunk(dict(zip(names, part.columns, strict=True)), part.num_rows, bad, done)
    if unreadable:
        yield Chunk({name: pa.nulls(0, pa.string()) for name in names}, 0, tuple(unreadable), 1.0)


def sniff(lines: Sequence[str]) -> str:
    """Return what cuts the first line into fields, and most of the others into as many."""
    best, most = WHITESPACE, (0.0, 1)
    for delimiter in (*_DELIMITERS, WHITESPACE):
        counts = [len(_split(line, delimiter)) for line in lines]
        found = counts.count(counts[0]) / len(counts), counts[0]
        if counts[0] > 1 and found > most:
            best, most = delimiter, found
    return best


def _first_lines(head: bytes, encoding: str) -> list[str]:
    try:
        text = head.decode(encoding, "replace").removeprefix("\ufeff")
    except LookupError:
        raise ConfigError(f"there is no encoding {encoding!r}", where="--encoding", fix="try latin-1.") from None
    lines = text.splitlines()
    if len(head) >= _HEAD_BYTES:
        lines = lines[:-1]
    return [line for line in lines[:_SNIFFED_LINES] if line.strip()]


def _split(line: str, delimiter: str) -> tuple[str, ...]:
    if delimiter == WHITESPACE:
        return tuple(line.split())
    return tuple(name.strip() for name in next(csv.reader([line], delimiter=delimiter)))


class _Squeezed:
    """A stream in which runs of blanks are single tabs and lines neither begin nor end with one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._line = b""
        self._ready = b""
        self.closed = False

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        while not self._ready:
            block = self._stream.read(_BLOCK_BYTES)
            text = self._line + block
            cut = text.rfind(b"\n") + 1 if block else len(text)
            self._line = text[cut:]
            self._ready = _RUN.sub(b"\t", _EDGES.sub(b"", text[:cut]))
            if not block:
                break
        # Arrow copies what it gets into a buffer of the size it asked for.
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def close(self) -> None:
        """Close the stream below."""
        self.closed = True
        self._stream.close()


def _ndjson(path: Path, _head: bytes, layout: Layout, rows: int) -> Iterator[Chunk]:
    size = max(1, path.stat().st_size)
    raw = pa.OSFile(str(path))
    objects: list[dict[str, Any]] = []
    unreadable: list[bytes] = []
    with _stream(raw, path) as stream:
        for line in _lines(stream, layout.encoding):
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError:
                value = None
            if isinstance(value, dict):
                objects.append(value)
            else:
                unreadable.append(line)
            if len(objects) + len(unreadable) >= rows:
                yield _from_objects(objects, unreadable, min(1.0, raw.tell() / size))
                objects, unreadable = [], []
    if objects or unreadable:
        yield _from_objects(objects, unreadable, 1.0)


def _lines(stream: Any, encoding: str) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        yield from (_utf8(line, encoding) for line in lines if line.strip())
    if rest.strip():
        yield _utf8(rest, encoding)


def _utf8(line: bytes, encoding: str) -> bytes:
    return line if encoding == "utf-8" else line.decode(encoding).encode()


def _from_objects(objects: Sequence[Mapping[str, Any]], unreadable: Sequence[bytes], done: float) -> Chunk:
    names = dict.fromkeys(name for one in objects for name in one)
    columns = {name: _column([one.get(name) for one in objects]) for name in names}
    return Chunk(columns, len(objects), tuple(unreadable), done)


def _column(values: Sequence[Any]) -> pa.Array:
    """Return JSON values as a column; objects, and values of more than one kind, as JSON text."""
    try:
        column = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        column = None
    if column is not None and not pa.types.is_struct(column.type):
        return column
    return pa.array([v if v is None or isinstance(v, str) else orjson.dumps(v).decode() for v in values], pa.string())


def _sliced(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
