"""What ``collectors simulate`` tells at its end: what is true, and what the receipts say."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from collectors.cli.show import number, print_table, short

if TYPE_CHECKING:
    from collectors.cli.sending import Receipts
    from collectors.simulate.truth import TenantTruth, Truth

_FEW_FILES = 5


def print_report(truth: Truth, receipts: Receipts | None, files: list[str], seconds: float) -> None:
    """Print tables of the truth and of the receipts."""
    names = [name for name, t in truth.tenants.items() if t.events]
    kinds = sorted({kind for name in names for kind in truth.tenants[name].events})
    rows = [[kind, *(number(truth.tenants[name].events[kind]) for name in names)] for kind in kinds]
    rows.append(["all", *(number(truth.tenants[name].events.total()) for name in names)])
    print_table(["events", *(f">{name}" for name in names)], rows)
    facts = {name: _highlights(truth.tenants[name]) for name in names}
    labels = list(next(iter(facts.values()), {}))
    print_table(["truth", *(f">{name}" for name in names)], [[x, *(facts[n][x] for n in names)] for x in labels])
    rate = truth.total / seconds
    print(f"{number(truth.total)} events in {seconds:.1f} s, {short(rate)} a second")
    for path in files[:_FEW_FILES]:
        print(f"wrote {path}")
    if len(files) > _FEW_FILES:
        print(f"and {len(files) - _FEW_FILES} more files")
    if receipts is not None:
        _print_receipts(truth, receipts)


def _highlights(truth: TenantTruth) -> dict[str, str]:
    """Return a few facts that a dashboard should show as well."""
    listening, security = truth.listening, truth.security
    totals = cast("dict[str, int]", listening.to_dict())
    return {
        "streams of 30 s and more": number(totals["streams"]),
        "hours listened": number(totals["ms_played"] / 3_600_000, 1),
        "active users on the last day": number(listening.active(max(listening.days))) if listening.days else "-",
        "log-ins that failed": number(security.outcomes["failure"]),
        "attacks on log-ins": number(len(security.episodes)),
        "payments": number(truth.events["payment"]),
    }


def _print_receipts(truth: Truth, receipts: Receipts) -> None:
    names = ("offered", "accepted", "duplicate", "rejected", "dropped", "unaccounted")
    sums = receipts.to_dict()
    print_table([f">{name}" for name in names], [[number(sums[name]) for name in names]], title="receipts")
    missing = truth.total - receipts.offered
    if missing or receipts.unaccounted:
        print(f"{missing + receipts.unaccounted} events are unaccounted for")
    else:
        print("every event is accounted for")
    if receipts.repeats:
        print(f"{receipts.repeats} requests were sent again")
    for (reason, detail), seen in receipts.reasons.most_common(10):
        print(f"rejected, {reason}: {detail} (seen {seen} times)")
