"""The lake's tables as unbound Ibis expressions: what an analytical collector may query.

A table has the stored schema of its event type (see ``model.event_types``) or of a rollup (``model.rollups``).
The tenant is not a column: whoever runs the expression binds it to one tenant's rows.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

from collectors.model.event_types import event_type
from collectors.model.rollups import ROLLUPS

if TYPE_CHECKING:
    import ibis.expr.types as ir


@cache
def events(name: str) -> ir.Table:
    """Return the unbound table of the event type ``name``."""
    return _unbound(name, event_type(name).stored_schema)


@cache
def rollup(name: str) -> ir.Table:
    """Return the unbound table of the rollup ``name``."""
    return _unbound(name, ROLLUPS[name].schema)


def _unbound(name: str, schema: pa.Schema) -> ir.Table:
    import ibis

    fields = [pa.field(f.name, pa.binary() if pa.types.is_fixed_size_binary(f.type) else f.type) for f in schema]
    return ibis.table(ibis.schema(pa.schema(fields)), name=name)
