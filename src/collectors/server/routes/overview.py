"""Everything the key may see, at a glance."""

from __future__ import annotations

from collections import Counter
from typing import Any

from collectors.model.alert import AlertState
from collectors.model.batch import LedgerCounts
from collectors.model.status import State
from collectors.monitoring.frames import counts_dict
from collectors.server.answers import Answer
from collectors.server.live import LiveHub
from collectors.server.routes.context import Given, Reader, errors, resource
from collectors.server.routes.samples import collectors_of
from collectors.server.schemas import Overview

router = resource("overview")

_MOST_ALERTS = 100_000


@router.get("/v1/overview", response_model=Overview, responses=errors())
def get_overview(context: Given, key: Reader) -> Answer:
    """Return the state of the server and of each tenant that the key may see."""
    gateway = context.gateway
    mine = key.tenant
    tenants = [mine] if mine is not None else [t.id for t in gateway.control.tenants()]
    ledger: dict[str, LedgerCounts] = {}
    for (tenant, _), counts in gateway.ledger.counts(mine).items():
        ledger[tenant] = ledger.get(tenant, LedgerCounts()) + counts
    firing = Counter(a.tenant for a in gateway.samples.alerts(mine, AlertState.FIRING, _MOST_ALERTS))
    hub = gateway.hub
    return Answer(
        {
            "time": gateway.clock.now_us(),
            "tenants": [_tenant(hub, t, ledger.get(t, LedgerCounts()), firing[t]) for t in tenants],
            "server": {
                "gateway": {"up": True, "uptime_seconds": gateway.clock.monotonic() - context.started},
                "worker": {"up": hub.worker_up, "behind_records": hub.behind_records},
            },
        }
    )


def _tenant(hub: LiveHub, tenant: str, counts: LedgerCounts, firing: int) -> dict[str, Any]:
    status = (hub.status(tenant) if hub.worker_up else None) or {}
    states = Counter(c["state"] for c in collectors_of(hub, tenant))
    return {
        "id": tenant,
        "events_per_second": status.get("events_per_second"),
        "ledger": counts_dict(counts),
        "freshness_seconds": status.get("freshness_seconds"),
        "collectors": {"running": states[State.RUNNING], "failing": states[State.FAILING]},
        "alerts": {"firing": firing},
    }
