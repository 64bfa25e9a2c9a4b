"""Sign-in attempts counted and attacks found, beside a plain reckoning row by row."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from collectors.catalog.security.auth.rules import network_name, principal_name
from collectors.catalog.security.security_events import SecurityEventCollector, SecurityEventConfig
from collectors.errors import MalformedBody
from collectors.model.batch import Batch
from collectors.model.event_type import EventType
from collectors.model.event_types import AUDIT, AUTH
from collectors.model.metric import Collection, Finding, Severity, Window

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
SMALL = SecurityEventConfig(
    window_seconds=100, brute_force_failures=4, spraying_principals=3, success_after_failures=3, quiet_seconds=250
)


def pseudonym(number: int) -> bytes:
    return number.to_bytes(2, "big") * 8


def batch(rows: list[dict[str, Any]], kind: EventType = AUTH) -> Batch:
    filled = [{"received_time": row.get("event_time"), **row} for row in rows]
    table = pa.RecordBatch.from_pylist(filled, schema=kind.stored_schema)
    return Batch("tenant", kind, 1, START, table)


def attempt(
    at: float, who: int | bytes | None, outcome: str = "failure", ip: str | None = "203.0.113.0/24", **more: Any
) -> dict[str, Any]:
    principal = pseudonym(who) if isinstance(who, int) else who
    return {
        "event_time": START + int(at * SECOND),
        "principal": principal,
        "outcome": outcome,
        "method": "password",
        "ip": ip.encode() if ip else None,
        **more,
    }


def failures(who: int, times: list[float], ip: str | None = None) -> list[dict[str, Any]]:
    return [attempt(at, who, ip=ip) for at in times]


async def values(collector: SecurityEventCollector, at: float = 1000.0) -> dict[tuple[str, ...], float | None]:
    now = START + int(at * SECOND)
    collection = await collector.collect(Window(now - 10 * SECOND, now))
    declared = {spec.name: spec for spec in collector.emits}
    for sample in collection.samples:
        assert len(sample.labels) == len(declared[sample.metric].labels)
    prefix = "collectors.security."
    return {(s.metric.removeprefix(prefix), *s.labels): s.value for s in collection.samples}


def rules(collection: Collection) -> list[str]:
    return [finding.rule for finding in collection.findings]


async def test_attempts_are_counted_by_outcome_and_method_in_a_bounded_vocabulary():
    collector = SecurityEventCollector()
    collector.observe(
        batch([
            attempt(1, 1, "success"),
            attempt(2, 1, "success"),
            attempt(3, 2, "success", method="sso"),
            attempt(4, 3, "failure", method="carrier pigeon 17"),
            attempt(5, 3, "locked", method=None),
            attempt(6, 4, "challenge", method="mfa"),
        ])
    )  # fmt: skip
    collector.observe(batch([attempt(7, 1, "success")]))
    got = await values(collector)

    assert {key[1:]: value for key, value in got.items() if key[0] == "auth.attempts"} == {
        ("success", "password"): 3,
        ("success", "sso"): 1,
        ("failure", "other"): 1,
        ("locked", "unknown"): 1,
        ("challenge", "mfa"): 1,
    }


async def test_audited_actions_are_counted_by_outcome():
    collector = SecurityEventCollector()
    outcomes = ["success", "denied", None, "denied", "failure", "whatever"]
    rows = [{"actor": pseudonym(1), "action": "a", "resource": "r", "outcome": outcome} for outcome in outcomes]
    assert collector.observe(batch(rows, AUDIT)) == Collection()
    assert collector.observe(batch([], AUDIT)) == Collection()
    got = await values(collector)
    assert {key[1]: value for key, value in got.items() if key[0] == "audit.events"} == {
        "success": 1, "denied": 2, "failure": 1, "unknown": 1, "other": 1,
    }  # fmt: skip


def test_brute_force_is_found_with_the_failure_that_completes_a_window():
    collector = SecurityEventCollector(SMALL)
    assert collector.observe(batch(failures(1, [0, 40, 80]))).findings == ()
    (finding,) = collector.observe(batch(failures(1, [99.999999]))).findings

    assert finding == Finding(
        rule="brute_force",
        key=pseudonym(1).hex(),
        severity=Severity.WARNING,
        summary="At least 4 failed sign-ins of one principal within 100 s.",
        labels=(("technique", "T1110.001"), ("principal", pseudonym(1).hex())),
        time_us=START + 99_999_999,
    )


def test_failures_a_whole_window_apart_are_no_brute_force():
    collector = SecurityEventCollector(SMALL)
    assert collector.observe(batch(failures(1, [0, 40, 80, 100]))).findings == ()


def test_an_ongoing_attack_is_reported_once_and_a_new_one_after_quiet():
    collector = SecurityEventCollector(SMALL)
    assert rules(collector.observe(batch(failures(1, [0, 1, 2, 3])))) == ["brute_force"]
    assert rules(collector.observe(batch(failures(1, [4, 50, 51, 52, 53])))) == []
    assert rules(collector.observe(batch(failures(1, [303.1, 303.2, 303.3, 303.4])))) == ["brute_force"]


def test_password_spraying_counts_distinct_principals_of_a_network():
    collector = SecurityEventCollector(SMALL)
    rows = [attempt(at, who) for at, who in ((0, 1), (1, 1), (2, 2), (3, 2))]
    assert collector.observe(batch(rows)).findings == ()
    elsewhere = [attempt(4, 3, ip="198.51.100.0/24"), attempt(5, 4, ip=None)]
    assert collector.observe(batch(elsewhere)).findings == ()
    (finding,) = collector.observe(batch([attempt(6, 3)])).findings

    assert (finding.rule, finding.key) == ("password_spraying", "203.0.113.0/24")
    assert finding.labels == (("technique", "T1110.003"), ("network", "203.0.113.0/24"))


def test_a_success_after_many_failures_is_critical():
    collector = SecurityEventCollector(SMALL)
    collector.observe(batch(failures(1, [0, 10, 20])))
    other = attempt(30, 2, "success")
    (finding,) = collector.observe(batch([other, attempt(30, 1, "success"), attempt(31, 1, "success")])).findings

    assert (finding.rule, finding.severity) == ("success_after_failures", Severity.CRITICAL)
    assert finding.time_us == START + 30 * SECOND
    assert dict(finding.labels)["technique"] == "T1110"


@pytest.mark.parametrize("at", [9.0, 120.0])
def test_a_success_before_the_failures_or_a_window_after_them_means_nothing(at):
    collector = SecurityEventCollector(SMALL)
    collector.observe(batch(failures(1, [0, 10, 20])))
    assert collector.observe(batch([attempt(at, 1, "success", received_time=START + 120 * SECOND)])).findings == ()


def test_a_success_is_found_again_when_the_failures_before_it_arrive_late():
    collector = SecurityEventCollector(SMALL)
    assert collector.observe(batch([attempt(50, 1, "success"), attempt(50, 2, "success")])).findings == ()
    late = [{**row, "received_time": START + 60 * SECOND} for row in failures(1, [10, 20, 30])]
    (finding,) = collector.observe(batch(late)).findings
    assert (finding.rule, finding.key) == ("success_after_failures", pseudonym(1).hex())
    assert finding.time_us == START + 50 * SECOND


def test_a_success_inside_a_fast_attack_is_found_however_much_follows():
    rows = failures(1, [at / 100 for at in range(2000)])
    inside = attempt(10.005, 1, "success", received_time=START + 21 * SECOND)
    apart, together = SecurityEventCollector(SMALL), SecurityEventCollector(SMALL)
    apart.observe(batch(rows))
    assert rules(apart.observe(batch([inside]))) == ["success_after_failures"]
    assert rules(together.observe(batch([inside, *rows]))) == ["brute_force", "success_after_failures"]


def test_locked_accounts_still_being_tried_are_brute_force_and_challenges_are_not():
    collector = SecurityEventCollector(SMALL)
    assert rules(collector.observe(batch([attempt(at, 1, "locked") for at in range(4)]))) == ["brute_force"]
    assert rules(collector.observe(batch([attempt(at, 2, "challenge") for at in range(9)]))) == []


async def test_attempts_that_come_too_late_are_counted_but_not_looked_at():
    collector = SecurityEventCollector(SMALL)
    rows = [attempt(at, 1, received_time=START + 500 * SECOND) for at in (395, 396, 397, 400)]
    rows.append(attempt(400.000001, 1, received_time=START + 500 * SECOND))
    assert collector.observe(batch(rows)).findings == ()
    got = await values(collector, 500)
    assert got["auth.attempts", "failure", "password"] == 5
    assert got["auth.late",] == 4
    assert got["auth.failure_ratio",] == 1.0


def test_a_clock_that_runs_ahead_is_set_back_to_the_time_of_arrival():
    collector = SecurityEventCollector(SMALL)
    ahead = [attempt(250 + at, 1, received_time=START + at * SECOND) for at in range(4)]
    (finding,) = collector.observe(batch(ahead)).findings
    assert finding.time_us == START + 3 * SECOND


async def test_absent_times_are_those_of_arrival_and_absent_principals_only_counted():
    collector = SecurityEventCollector(SMALL)
    rows = [{**attempt(1, 1), "event_time": None, "received_time": None} for _ in range(4)]
    assert [f.time_us for f in collector.observe(batch(rows)).findings] == [START]  # when the batch was acknowledged
    mixed = [{**attempt(2, 2), "event_time": None, "received_time": START + 2 * SECOND}, attempt(2, 2), attempt(2, 2)]
    assert [f.time_us for f in collector.observe(batch([*mixed, attempt(2, 2)])).findings] == [START + 2 * SECOND]
    assert collector.observe(batch([attempt(3, None) for _ in range(9)])).findings == ()
    assert (await values(collector))["auth.attempts", "failure", "password"] == 17


async def test_gauges_speak_of_the_window_that_ends_with_the_collection():
    collector = SecurityEventCollector(SMALL)
    collector.observe(batch([*failures(1, [0, 1, 2, 3]), attempt(4, 1, "success"), attempt(60, 2), attempt(61, 3)]))
    now, later, much_later = [await values(collector, at) for at in (61, 120, 500)]

    assert now["auth.failure_ratio",] == pytest.approx(6 / 7)
    assert now["auth.failing_principals",] == 3
    assert now["auth.brute_force.active",] == 1
    assert now["auth.password_spraying.active",] == 0
    assert now["auth.success_after_failures.active",] == 1
    assert now["auth.detections", "brute_force"] == 1
    assert now["auth.detections", "password_spraying"] == 0
    assert later["auth.failure_ratio",] == 1.0
    assert later["auth.failing_principals",] == 2
    assert much_later["auth.failure_ratio",] is None
    assert much_later["auth.failing_principals",] == 0
    assert much_later["auth.brute_force.active",] == 0
    assert much_later["auth.detections", "brute_force"] == 1


async def test_nobody_signing_in_has_no_failure_ratio():
    collector = SecurityEventCollector()
    assert collector.observe(batch([])) == Collection()
    sample = next(s for s in (await collector.collect(Window(0, START))).samples if s.metric.endswith("failure_ratio"))
    assert (sample.value, sample.reason) == (None, "nobody tried to sign in during the last window")


async def test_state_is_bounded_and_says_when_it_forgets():
    config = SecurityEventConfig(max_principals=16, max_networks=16)
    collector = SecurityEventCollector(config)
    rows = [attempt(at, at, ip=f"198.51.{at}.0/24") for at in range(40)]
    collector.observe(batch(rows))
    got = await values(collector, 40)
    assert got["auth.evicted", "principals"] == 24
    assert got["auth.evicted", "networks"] == 24
    assert 0 < got["auth.state_size",] <= collector.memory_limit_bytes  # type: ignore[operator]


async def test_old_steps_of_the_failure_ratio_are_forgotten():
    collector = SecurityEventCollector(SMALL)
    for at in range(0, 2000, 5):
        collector.observe(batch([attempt(at, None, "success")]))
    assert len(collector._steps) <= 240
    assert (await values(collector, 1999))["auth.failure_ratio",] == 0.0


# What a person may see


def test_findings_name_pseudonyms_and_networks_but_nothing_raw():
    assert principal_name(pseudonym(258)) == "0102" * 8
    assert "ada" not in principal_name(b"ada@example.org")
    assert principal_name(b"ada@example.org") == principal_name(b"ada@example.org") != principal_name(b"bob")
    assert network_name(b"203.0.113.0/24") == "203.0.113.0/24"
    assert network_name(b"203.0.113.77") == "203.0.113.0/24"
    assert network_name(b"10.0.0.0/8") == "10.0.0.0/8"
    assert network_name(b"2001:db8:1:2::3") == "2001:db8:1::/48"
    assert len(network_name(b"\x01\x80ciphertext")) == 32


def test_a_raw_principal_and_address_under_a_keeping_policy_do_not_leak():
    collector = SecurityEventCollector(SMALL)
    rows = [attempt(at, b"ada@example.org", ip="203.0.113.77") for at in range(4)]
    rows += [attempt(at, f"user{at}@example.org".encode(), ip="203.0.113.77") for at in range(4)]
    text = repr(collector.observe(batch(rows)))
    assert "brute_force" in text
    assert "password_spraying" in text
    assert "example" not in text
    assert ".77" not in text


# Configuration


def test_thresholds_stay_within_published_limits():
    with pytest.raises(ValidationError):
        SecurityEventConfig(brute_force_failures=101)
    with pytest.raises(ValidationError, match="must not be less than window_seconds"):
        SecurityEventConfig(window_seconds=600, quiet_seconds=599)


# Snapshots


def history(seed: int, n: int = 600) -> list[dict[str, Any]]:
    """Busy traffic with attacks of every kind in it, in order of arrival."""
    random = np.random.default_rng(seed)
    arrived = np.sort(random.integers(0, 900 * SECOND, n))
    rows = []
    for at in arrived.tolist():
        who = int(random.integers(0, 12)) if random.random() < 0.8 else 1
        outcome = str(random.choice(["failure", "success", "locked", "challenge"], p=[0.5, 0.4, 0.05, 0.05]))
        late = int(random.integers(0, 130 * SECOND)) if random.random() < 0.2 else int(random.integers(0, SECOND))
        net = str(random.choice(["203.0.113.0/24", "198.51.100.0/24", "2001:db8::/48"]))
        rows.append(attempt((at - late) / SECOND, who, outcome, net, received_time=START + at))
    return rows


@pytest.mark.parametrize("cut", [0, 1, 7, 13])
async def test_a_restored_collector_equals_an_uninterrupted_one(cut):
    parts = [history(3)[at : at + 43] for at in range(0, 600, 43)]
    one = SecurityEventCollector(SMALL)
    for part in parts[:cut]:
        one.observe(batch(part))
    other = SecurityEventCollector(SMALL)
    other.observe(batch(history(9)[:50]))  # what it knew before is replaced
    other.restore(one.snapshot())
    for part in parts[cut:]:
        assert one.observe(batch(part)) == other.observe(batch(part))
    window = Window(START, START + 900 * SECOND)
    assert await one.collect(window) == await other.collect(window)


async def test_a_snapshot_taken_with_other_thresholds_continues_in_its_counters():
    one = SecurityEventCollector(SMALL)
    one.observe(batch(history(3)))
    other = SecurityEventCollector(SMALL.model_copy(update={"spraying_principals": 7}))
    other.restore(one.snapshot())
    before, after = await values(one), await values(other)
    counters = [key for key in before if key[0] in ("auth.attempts", "auth.detections", "auth.late")]
    assert counters
    assert [before[key] for key in counters] == [after[key] for key in counters]
    assert after["auth.brute_force.active",] == 0


@pytest.mark.parametrize("how_it_runs", [{"interval_seconds": 99.0}, {"tags": {"a": "b"}}])
async def test_a_change_in_how_it_runs_keeps_the_whole_state(how_it_runs):
    one = SecurityEventCollector(SMALL)
    one.observe(batch(failures(1, [0, 1, 2, 3])))
    other = SecurityEventCollector(SMALL.model_copy(update=how_it_runs))
    other.restore(one.snapshot())
    assert (await values(other, 10))["auth.brute_force.active",] == 1


def _archive(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"PK\x03\x04 cut",
        _archive(plain=np.frombuffer(b"[1]", np.uint8)),
        _archive(a=np.zeros(2)),
        _archive(plain=np.frombuffer(b'{"format": "another/1"}', np.uint8)),
    ],
)
def test_what_is_no_snapshot_is_refused_with_a_remedy(data):
    with pytest.raises(MalformedBody, match="start without one"):
        SecurityEventCollector().restore(data)


# Independence of order and batching


def reckoned(rows: list[dict[str, Any]], config: SecurityEventConfig) -> dict[str, set[str]]:
    """Whom each rule concerns, worked out from all rows at once."""
    width = int(config.window_seconds * SECOND)
    failed, by_net, succeeded = defaultdict(list), defaultdict(list), defaultdict(list)
    for row in rows:
        time = min(row["event_time"], row["received_time"])
        if time <= row["received_time"] - width:
            continue
        if row["outcome"] in ("failure", "locked"):
            failed[row["principal"]].append(time)
            by_net[row["ip"]].append((time, row["principal"]))
        elif row["outcome"] == "success":
            succeeded[row["principal"]].append(time)

    def inside(times: list[int], end: int) -> int:
        return sum(end - width < time <= end for time in times)

    def distinct(events: list[tuple[int, bytes]], end: int) -> int:
        return len({who for time, who in events if end - width < time <= end})

    return {
        "brute_force": {
            who.hex()
            for who, times in failed.items()
            if any(inside(times, t) >= config.brute_force_failures for t in times)
        },
        "password_spraying": {
            net.decode()
            for net, events in by_net.items()
            if any(distinct(events, t) >= config.spraying_principals for t, _ in events)
        },
        "success_after_failures": {
            who.hex()
            for who, times in succeeded.items()
            if any(inside(failed[who], t) >= config.success_after_failures for t in times)
        },
    }


@given(st.integers(0, 10_000), st.data())
def test_neither_the_order_of_rows_nor_the_cut_into_batches_matters(seed, data):
    n = data.draw(st.integers(1, 150))
    rows = history(seed, n)
    config = SMALL.model_copy(update={"spraying_principals": data.draw(st.integers(2, 10))})
    collector = SecurityEventCollector(config)
    found: dict[str, set[str]] = {
        rule: set() for rule in ("brute_force", "password_spraying", "success_after_failures")
    }
    rest = rows
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        part, rest = rest[:size], rest[size:]
        for finding in collector.observe(batch(data.draw(st.permutations(part)))).findings:
            found[finding.rule].add(finding.key)

    assert found == reckoned(rows, config)
    assert collector._attempts == Counter((row["outcome"], row["method"]) for row in rows)
    whole = SecurityEventCollector(config)
    whole.observe(batch(rows))
    for now in (START + 900 * SECOND, START + 1000 * SECOND):
        for table, other in ((collector._principals, whole._principals), (collector._networks, whole._networks)):
            assert table.active(0, now) == other.active(0, now)
            assert table.live(now) == other.live(now)
        assert collector._principals.active(1, now) == whole._principals.active(1, now)
        assert collector._ratio_counts(now) == whole._ratio_counts(now)


def test_inputs_are_not_changed():
    rows = batch(history(5))
    before = rows.table.to_pylist()
    SecurityEventCollector(SMALL).observe(rows)
    assert rows.table.to_pylist() == before


def test_a_slice_of_a_larger_batch_is_read_as_itself():
    rows = history(5, 100)
    whole = batch(rows)
    part = Batch("tenant", AUTH, 1, START, whole.table.slice(30, 40))
    assert SecurityEventCollector(SMALL).observe(part) == SecurityEventCollector(SMALL).observe(batch(rows[30:70]))
