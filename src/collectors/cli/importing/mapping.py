"""Which column becomes which field: the ``--map`` language, and its application to the chunks of a file.

    column=field          the column's values
    column=field*100      multiplied by a number, exactly, and rounded half to even
    field:=text           the same for all rows; {column} stands for a column's value, {row} for the number of the row

Columns that are called like a field need no mapping. All others become properties of the event.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from collectors.cli.importing.convert import Failed, Reading, to_type
from collectors.cli.importing.files import Chunk
from collectors.errors import ConfigError
from collectors.model.event_type import EventType, Field

ROW = "row"
_FACTOR_DIGITS = 10
_IDENTITY = "event_id"


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a field's values come from: a column, with a factor or not, or a template."""

    field: str
    column: str = ""
    factor: Decimal | None = None
    template: tuple[tuple[str, str | None], ...] = ()
    """Pieces of text, each followed by the value of a column (or the row's number), or by nothing."""

    @property
    def columns(self) -> set[str]:
        """The columns it needs."""
        return {self.column} if self.column else {name for _, name in self.template if name is not None} - {ROW}


def parse_rule(text: str) -> Rule:
    """Read one ``--map``; raises ConfigError."""
    first = text.find("=")
    if first > 0 and text[first - 1] == ":":
        return Rule(text[: first - 1].strip(), template=_template(text[first + 1 :]))
    column, sign, target = text.rpartition("=")
    field, star, factor = (part.strip() for part in target.partition("*"))
    if not sign or not column or not field:
        raise ConfigError(f"{text!r} maps nothing", where="--map", fix="write column=field, or field:=text.")
    return Rule(field, column, _factor(factor) if star else None)


def _factor(text: str) -> Decimal:
    try:
        factor = Decimal(text)
    except InvalidOperation:
        factor = Decimal(0)
    digits = -int(factor.as_tuple().exponent) if factor.is_finite() else _FACTOR_DIGITS + 1
    if not factor or digits > _FACTOR_DIGITS or abs(factor) >= 10**_FACTOR_DIGITS:
        fix = f"give a number with up to {_FACTOR_DIGITS} digits on either side of the point, such as 100."
        raise ConfigError(f"{text!r} is no factor", where="--map", fix=fix)
    return factor


def _template(text: str) -> tuple[tuple[str, str | None], ...]:
    try:
        pieces = tuple((literal, name) for literal, name, _, _ in string.Formatter().parse(text))
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}", where="--map", fix="write {{ and }} for braces.") from None
    return pieces or (("", None),)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be turned into an event: its number from 1, why, and what was read of it as JSON."""

    row: int
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Mapped:
    """A chunk's events: ``events`` of wire types, ``numbers`` their rows in the file from 1, and the bad rows."""

    events: pa.RecordBatch
    numbers: Sequence[int]
    bad: tuple[BadRow, ...]


class Mapper:
    """Applies rules to the chunks of one file, in order.

    ``identity`` is a text that is the same whenever the same file is imported: with the row's number it becomes the
    event's id, unless a column is mapped to that. With ``only_mapped`` other columns are left out.
    """

    def __init__(
        self,
        event_type: EventType,
        rules: Sequence[Rule],
        names: Sequence[str],
        reading: Reading,
        *,
        identity: str,
        only_mapped: bool = False,
    ) -> None:
        self._type = event_type
        self._reading = reading
        self._identity = identity
        self._rows = 0
        by_field = {rule.field: rule for rule in rules}
        _check(event_type, rules, names)
        used = {name for rule in rules for name in rule.columns}
        for name in names:
            if name in event_type.by_name and name not in by_field and name not in used:
                by_field[name] = Rule(name, name)
                used.add(name)
        missing = [f.name for f in event_type.columns if f.required and f.name not in by_field]
        if missing:
            raise ConfigError(
                f"nothing is mapped to {', '.join(missing)}, which {event_type.name} needs",
                where="--map",
                fix=f"map them; the columns are: {', '.join(names)}.",
            )
        self.rules: Mapping[str, Rule] = by_field
        self._rest = () if only_mapped else tuple(n for n in names if n not in used and n not in event_type.by_name)

    def apply(self, chunk: Chunk) -> Mapped:
        """Turn a chunk into events and bad rows."""
        numbers = range(self._rows + 1, self._rows + chunk.rows + 1)
        self._rows += chunk.rows
        columns: dict[str, pa.Array] = {}
        wrong: dict[int, dict[str, object]] = {}
        reasons: dict[int, str] = {}
        for field in self._type.columns:
            rule = self.rules.get(field.name)
            if rule is None:
                continue
            source = self._source(rule, chunk, numbers)
            columns[field.name], failed = self._converted(source, rule, field)
            for i in np.flatnonzero(failed).tolist():
                wrong.setdefault(i, {})[field.name] = source[i].as_py()
                reasons.setdefault(i, _reason(rule, field))
        if _IDENTITY not in columns:
            columns[_IDENTITY] = self._ids(numbers)
        rest = {name: chunk.columns[name] for name in self._rest if name in chunk.columns}
        events = pa.RecordBatch.from_pydict({**columns, **rest})
        bad = [BadRow(0, "the line can't be read", line) for line in chunk.unreadable]
        kept: Sequence[int] = numbers
        if wrong:
            # With the values that the file has in place of those that don't fit, they can be mended and replayed.
            rows = events.take(pa.array(sorted(wrong), pa.int64())).to_pylist()
            for i, row in zip(sorted(wrong), rows, strict=True):
                bad.append(BadRow(numbers[i], reasons[i], _as_json({**row, **wrong[i]})))
            good = np.ones(chunk.rows, np.bool_)
            good[list(wrong)] = False
            events = events.filter(pa.array(good))
            kept = (np.flatnonzero(good) + numbers.start).tolist()
        return Mapped(events, kept, tuple(bad))

    def _source(self, rule: Rule, chunk: Chunk, numbers: range) -> pa.Array:
        if rule.template:
            return _filled(rule.template, chunk, numbers)
        return chunk.columns.get(rule.column, pa.nulls(chunk.rows))

    def _converted(self, source: pa.Array, rule: Rule, field: Field) -> tuple[pa.Array, Failed]:
        # Ids may be any text; which UUID one stands for is for intake to say.
        kind = pa.string() if field.name == _IDENTITY and not pa.types.is_fixed_size_binary(source.type) else field.type
        return to_type(source, kind, self._reading, rule.factor)

    def _ids(self, numbers: range) -> pa.StringArray:
        rows = pa.array(numbers, pa.int64()).cast(pa.string())
        return pc.binary_join_element_wise(f"{self._identity}/{self._type.name}/", rows, "")


def _as_json(row: Mapping[str, object]) -> bytes:
    present = {name: value for name, value in row.items() if value is not None}
    if isinstance(features := present.get("features"), list):
        present["features"] = dict(features)  # Arrow's maps come as pairs
    return orjson.dumps(present, default=_plain)


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _filled(template: tuple[tuple[str, str | None], ...], chunk: Chunk, numbers: range) -> pa.StringArray:
    """Fill a template in for every row; a value that is missing leaves the whole text missing."""
    parts: list[pa.Array | str] = []
    for literal, name in template:
        parts.append(literal)
        if name == ROW:
            parts.append(pa.array(numbers, pa.int64()).cast(pa.string()))
        elif name is not None:
            parts.append(to_type(chunk.columns.get(name, pa.nulls(chunk.rows)), pa.string(), Reading())[0])
    if all(isinstance(part, str) for part in parts):
        return pa.repeat("".join(map(str, parts)), chunk.rows)
    return pc.binary_join_element_wise(*parts, "")


def _check(event_type: EventType, rules: Sequence[Rule], names: Sequence[str]) -> None:
    seen: set[str] = set()
    for rule in rules:
        if rule.field not in event_type.by_name:
            fix = f"{_did_you_mean(rule.field, event_type.by_name)}see: collectors events {event_type.name}."
            raise ConfigError(f"{event_type.name} has no field {rule.field!r}", where="--map", fix=fix)
        if rule.field in seen:
            raise ConfigError(f"{rule.field} is mapped twice", where="--map", fix="leave one out.")
        seen.add(rule.field)
        for name in sorted(rule.columns):
            if name not in names:
                fix = f"{_did_you_mean(name, names)}the columns are: {', '.join(names)}."
                raise ConfigError(f"the file has no column {name!r}", where="--map", fix=fix)


def _did_you_mean(wrong: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(wrong, list(names), n=1)
    return f"did you mean {close[0]}? or " if close else ""


def _reason(rule: Rule, field: Field) -> str:
    source = f"column {rule.column}" if rule.column else "the text"
    return f"{source} is no {_WORDS.get(field.type.id, 'value')} for {field.name}"


_WORDS = {
    pa.int32().id: "whole number",
    pa.int64().id: "whole number",
    pa.float64().id: "number",
    pa.bool_().id: "true or false",
    pa.timestamp("us").id: "time",
    pa.list_(pa.null()).id: "JSON list",
    pa.map_(pa.string(), pa.null()).id: "JSON object",
}
