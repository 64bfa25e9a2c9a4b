"""The double answers in the shapes of the real API, or the tests of the page would prove nothing."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from page_double import Double, Metric, Tenant, alert, collector, counts
from page_site import START_US
from pydantic import TypeAdapter

from collectors.server import schemas

METRIC = Metric(
    "system.cpu.utilization",
    labels=("state",),
    series=[({"state": "user"}, lambda _: 0.5), ({"state": "x"}, lambda _: None)],
)
SHAPES: list[tuple[str, Any]] = [
    ("v1/overview", schemas.Overview),
    ("v1/tenants", list[schemas.TenantSummary]),
    ("v1/tenants/acme/ledger", schemas.Ledger),
    ("v1/tenants/acme/collectors", list[schemas.CollectorAnswer]),
    ("v1/tenants/acme/metrics", list[schemas.MetricAnswer]),
    ("v1/tenants/acme/latest", list[schemas.LatestAnswer]),
    ("v1/tenants/acme/alerts?state=firing", list[schemas.AlertAnswer]),
    (
        f"v1/tenants/acme/samples?metric={METRIC.name}&since={START_US - 60_000_000}&until={START_US}&points=10",
        schemas.SamplesAnswer,
    ),
]


def reduced(value: Any) -> Any:
    """``value`` with the names of its fields only, so that the double sends neither more nor less than the API."""
    if isinstance(value, dict):
        return {key: reduced(one) for key, one in value.items()}
    return [reduced(value[0])] if isinstance(value, list) and value else None


@pytest.mark.parametrize(("path", "shape"), SHAPES, ids=[path.split("?")[0] for path, _ in SHAPES])
async def test_the_double_answers_in_the_shapes_of_the_api(path: str, shape: Any) -> None:
    double = Double(lambda: START_US)
    double.add(
        Tenant(
            "acme",
            ledger={"playback": counts(10)},
            collectors=[collector("system_performance")],
            metrics=[METRIC],
            alerts=[alert("1"), alert("2", state="resolved", ended=START_US)],
        )
    )
    transport = httpx.ASGITransport(app=double.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://double") as client:
        answer = (await client.get(path)).raise_for_status().json()
    adapter = TypeAdapter(shape)
    understood = adapter.dump_python(adapter.validate_python(answer), mode="json")
    assert reduced(understood) == reduced(answer)
