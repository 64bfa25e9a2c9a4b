"""What the lint accepts, and advises, is the same on both engines; and the comparison itself sees differences."""

from __future__ import annotations

import pyarrow as pa
import pytest
from tests.compliance.same import differences
from tests.compliance.seeded import RUNS
from tests.support.portable_cases import ACCEPTED, RULES

EXPRESSIONS = ACCEPTED | {f"instead of {rule}": accepted for rule, (_refused, accepted) in RULES.items()}
UNORDERED = {
    "ntile",
    "lag",
    "cumulative",
    "rows",
    "row number",
    "instead of sample",
    "instead of first",
    "instead of last",
}
"""The order of ties, or which rows a limit keeps, is no part of these expressions' meaning."""


@pytest.mark.parametrize("name", sorted(EXPRESSIONS.keys() - UNORDERED))
def test_an_accepted_expression_gives_the_same_cells(name: str, ask_both) -> None:
    for tenant, _end in RUNS:
        duckdb, sail = ask_both(tenant, EXPRESSIONS[name])
        assert differences(duckdb, sail) == []


@pytest.mark.parametrize("name", sorted(UNORDERED))
def test_an_accepted_expression_runs_on_both(name: str, ask_both) -> None:
    duckdb, sail = ask_both(RUNS[0][0], EXPRESSIONS[name])
    assert (duckdb.schema, duckdb.num_rows) == (sail.schema, sail.num_rows)


ROWS = pa.table({"n": [1, 2, None], "x": [0.1, None, 2.0], "b": [b"a", None, b"c"], "l": [[1.0], None, [2.0, 3.0]]})


def changed(column: str, values: list[object]) -> pa.Table:
    number = ROWS.column_names.index(column)
    return ROWS.set_column(number, ROWS.schema.field(column), pa.array(values, ROWS.schema.field(column).type))


def test_the_order_of_rows_and_the_last_digits_of_floats_are_no_difference() -> None:
    assert differences(ROWS, ROWS.take([2, 0, 1])) == []
    assert differences(ROWS, changed("x", [0.1 * (1 + 1e-12), None, 2.0])) == []
    assert differences(ROWS, changed("l", [[1.0 + 1e-12], None, [2.0, 3.0]])) == []


@pytest.mark.parametrize(
    "other",
    [
        ROWS.slice(0, 2),
        ROWS.drop_columns("b"),
        changed("n", [1, 3, None]),
        changed("n", [1, 2, 0]),
        changed("x", [0.1 * (1 + 1e-6), None, 2.0]),
        changed("x", [0.1, 0.0, 2.0]),
        changed("b", [b"a", b"", b"c"]),
        changed("l", [[1.0], None, [2.0]]),
        ROWS.set_column(0, "n", pa.array([1.0, 2.0, None])),
    ],
)
def test_any_other_difference_is_told(other: pa.Table) -> None:
    assert differences(ROWS, other)
