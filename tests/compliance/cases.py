"""What the suite knows of each analytical collector, and where engines are known to differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.compliance.seeded import Case

CASES: Mapping[str, Case] = {
    "churn_analytics": Case(),
    "customer_lifetime_value": Case(may_be_empty=frozenset({"customers", "occasions"})),
    "experiment_tracking": Case(
        {
            "experiments": {
                "experiment-1": {
                    "metrics": {
                        "metric-1": {},
                        "r": {"kind": "ratio", "source": "metric-2", "denominator": "metric-3"},
                    },
                    "design": "group_sequential",
                    "max_units": 100,
                    "multiple_exposures": "first",
                }
            },
            "winsorise": {"metric-2": 0.9, "metric-3": 0.8},
            "outcome_days": 30,
            "covariate_days": 30,
        }
    ),
    "revenue_metrics": Case(),
    "tenant_business_metrics": Case({"quotas": {"plays": 1000}}, may_be_empty=frozenset({"hours_of_charges"})),
    "user_engagement": Case(
        {
            "funnels": {
                "listened": {
                    "steps": [
                        {"event": "app_event", "where": {"name": "name-1"}},
                        {"event": "playback", "at_least": {"ms_played": 30_000}},
                        {"event": "subscription", "where": {"action": "start"}},
                    ],
                    "window_hours": 400,
                    "days": 60,
                }
            }
        }
    ),
}
"""The run of each collector, by its name."""

STUB = """
tests/compliance/cases.py has no case for {name}. Add to CASES, with what its configuration needs:

    "{name}": Case(),
"""


@dataclass(frozen=True)
class Gap:
    """A difference between engines that is known: whose it is to mend, and why it is there."""

    whose: Literal["ours", "upstream", "never"]
    reason: str


KNOWN_GAPS: Mapping[tuple[str, str], Gap] = {}
"""Gaps by collector and query. A gap that no longer shows fails its test until its line is removed."""
