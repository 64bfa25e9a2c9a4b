"""Every query of every analytical collector gives the same cells on DuckDB and on Sail."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import ibis
import pytest
from tests.compliance.cases import CASES, KNOWN_GAPS, STUB
from tests.compliance.same import differences
from tests.compliance.seeded import RUNS, ZONES
from tests.support.analytical import window_to

import collectors.catalog
from collectors.contract.collector import Analytical, CollectorContext
from collectors.lake.portable import violations
from collectors.model.status import TenantInfo


def discover() -> dict[str, type[Analytical[Any]]]:
    """Find the analytical collectors of the catalog, whatever module they are in."""
    found = {}
    for module in pkgutil.walk_packages(collectors.catalog.__path__, "collectors.catalog."):
        for member in vars(importlib.import_module(module.name)).values():
            is_collector = inspect.isclass(member) and issubclass(member, Analytical) and hasattr(member, "name")
            if is_collector and member.__module__ == module.name:
                found[member.name] = member
    return found


COLLECTORS = discover()


def queries(name: str, tenant: str, end: datetime) -> Mapping[str, ibis.Table]:
    collector = COLLECTORS[name]
    config = collector.Config(**CASES[name].config)
    return collector(config, CollectorContext(tenant=TenantInfo(tenant, ZONES[tenant]))).queries(window_to(end))


QUERIES = [(name, query) for name in sorted(COLLECTORS.keys() & CASES) for query in queries(name, *RUNS[0])]


@pytest.mark.parametrize("name", sorted(COLLECTORS))
def test_every_analytical_collector_has_a_case(name: str) -> None:
    assert name in CASES, STUB.format(name=name)


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_a_query_gives_the_same_cells_on_both_engines(name: str, query: str, ask_both, request) -> None:
    gap = KNOWN_GAPS.get((name, query))
    if gap:
        request.applymarker(pytest.mark.xfail(reason=f"{gap.whose}: {gap.reason}", strict=True))
    for tenant, end in RUNS:
        duckdb, sail = ask_both(tenant, queries(name, tenant, end)[query])
        assert differences(duckdb, sail) == []
        assert duckdb.num_rows or query in CASES[name].may_be_empty, "the seeded data tell nothing here"


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_a_query_stays_in_the_portable_subset(name: str, query: str) -> None:
    assert violations(queries(name, *RUNS[0])[query]) == ()


def test_cases_and_gaps_name_what_there_is() -> None:
    assert set(CASES) <= set(COLLECTORS), "remove the cases of collectors that are gone"
    assert set(KNOWN_GAPS) <= set(QUERIES), "remove the gaps of queries that are gone"
    named = {(name, query) for name, case in CASES.items() for query in case.may_be_empty}
    assert named <= set(QUERIES), "remove the exceptions of queries that are gone"
    assert all(gap.reason for gap in KNOWN_GAPS.values())
