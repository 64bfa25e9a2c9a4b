"""nginx's ``stub_status``, the few facts that the free build tells."""

from __future__ import annotations

import re

from collectors.catalog.performance.balancer.model import Frontend, Reading, Texts, Traffic, counters, gauges, required
from collectors.errors import SourceUnavailable
from collectors.model.metric import Sample, Unit

_STATUS = re.compile(
    r"Active connections:\s+(\d+)\s+server accepts handled requests(?: request_time)?\s+"
    r"(\d+)\s+(\d+)\s+(\d+)(?:\s+\d+)?\s+Reading:\s+(\d+)\s+Writing:\s+(\d+)\s+Waiting:\s+(\d+)\s*"
)
_P = "collectors.nginx"
_GAUGES = gauges(
    f"{_P}.connections",
    (),
    {
        "active": "Connections at present, idle ones too.",
        "reading": "Connections whose request is being read.",
        "writing": "Connections whose request is processed or answered.",
        "waiting": "Idle connections that wait for a request.",
    },
    Unit.COUNT,
)
_COUNTERS = counters(
    f"{_P}.connections",
    (),
    {
        "accepted": "Connections accepted.",
        "handled": "Connections handled; fewer than accepted if a limit was reached.",
        "dropped": "Connections accepted and not handled.",
    },
    Unit.EVENTS,
)
_REQUESTS = counters(f"{_P}.http_requests", (), {"total": "Requests so far."}, Unit.EVENTS)["total"]
EMITS = (*_GAUGES.values(), *_COUNTERS.values(), _REQUESTS)


def read(texts: Texts, *, native: bool = True) -> Reading:
    """Make a reading of the page."""
    match = _STATUS.fullmatch(required(texts, "status").strip() + "\n")
    if match is None:
        raise SourceUnavailable("this is not the page of stub_status; look at the address")
    active, accepted, handled, requests, reading, writing, waiting = map(int, match.groups())
    values = {
        "active": active, "reading": reading, "writing": writing, "waiting": waiting,
        "accepted": accepted, "handled": handled, "dropped": accepted - handled,
    }  # fmt: skip
    specs = {**_GAUGES, **_COUNTERS}
    samples = (Sample(_REQUESTS.name, requests), *(Sample(specs[k].name, v) for k, v in values.items()))
    traffic = Traffic(sessions=active, connections=accepted, requests=requests, errors={"dropped": accepted - handled})
    return Reading("nginx", frontends=(Frontend("nginx", up=True, traffic=traffic),), samples=samples if native else ())
