"""Commands that work directly on a data folder: tenants, keys, ledger, what is in the log."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from cli_runner import Run
from cli_server import Answer, serving

from collectors.app.folder import DataFolder
from collectors.config.tenant import TenantConfig
from collectors.drivers.control_store import Scope
from collectors.drivers.event_log import LogWriter, Record
from collectors.drivers.ledger_store import Fold
from collectors.errors import LifecycleError
from collectors.model.batch import LedgerCounts
from collectors.model.event_types import EVENT_TYPES
from collectors.privacy.keys import Purpose


@pytest.fixture
def acme(folder: DataFolder) -> DataFolder:
    folder.control.put_tenant("acme", TenantConfig(currency="SEK"))
    folder.keys.create("acme")
    return folder


def test_a_tenant_is_created_with_keys_and_one_api_key(run: Run, folder: DataFolder) -> None:
    found = run("tenants", "create", "acme", "--set", "time_zone=Asia/Tokyo", "--set", "retention_days.log=7")
    assert found.code == 0
    assert folder.control.tenant("acme").config == TenantConfig(time_zone="Asia/Tokyo", retention_days={"log": 7})
    assert folder.keys.keyset("acme").tenant == "acme"
    (word,) = found.out.split()
    key = folder.control.authenticate(word)
    assert key is not None
    assert (key.tenant, key.scopes) == ("acme", {Scope.READ, Scope.WRITE})


def test_a_tenant_can_be_created_before_the_first_start(run: Run, tmp_path: Path) -> None:
    assert run("tenants", "create", "acme", "--data", tmp_path / "new").code == 0
    assert DataFolder(tmp_path / "new").control.tenant("acme").id == "acme"


def test_a_tenant_that_is_there_is_not_created_again(run: Run, acme: DataFolder) -> None:
    found = run("tenants", "create", "acme")
    assert found.code == 2
    assert "collectors tenants set" in found.err
    assert acme.control.tenant("acme").config.currency == "SEK"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tenants", "create", "x", "--set", "currency"], "write KEY=VALUE"),
        (["tenants", "create", "x", "--set", "currncy=EUR"], "did you mean currency"),
        (["tenants", "create", "Not A Name"], "lower-case"),
        (["tenants", "set", "acme", "--set", "policies.auth.nosuch=drop"], "nosuch"),
        (["keys", "create"], "give TENANT, or --all"),
        (["keys", "create", "acme", "--all"], "give TENANT, or --all"),
        (["keys", "create", "acme", "--scope", "rule"], "use write, read, admin"),
    ],
)
def test_mistakes_are_told_and_change_nothing(run: Run, acme: DataFolder, arguments: list[str], words: str) -> None:
    before = acme.control.version()
    found = run(*arguments)
    assert found.code == 2
    assert words in found.err
    assert acme.control.version() == before


@pytest.mark.parametrize(
    "arguments",
    [["tenants", "list"], ["keys", "list"], ["keys", "revoke", "x"], ["ledger"], ["tap", "--events", "all"]],
)
def test_folders_without_a_server_s_data_are_told(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    found = run(*arguments, "--data", tmp_path / "nothing")
    assert found.code == 1
    assert "is no data folder of a server" in found.err
    assert not (tmp_path / "nothing").exists()


def test_settings_change_one_by_one_and_by_file(run: Run, acme: DataFolder, tmp_path: Path) -> None:
    assert run("tenants", "set", "acme", "--set", "policies.auth.ip=drop").code == 0
    assert acme.control.tenant("acme").config == TenantConfig(currency="SEK", policies={"auth": {"ip": "drop"}})
    (tmp_path / "t.toml").write_text('profile = "enterprise"\n')
    assert run("tenants", "set", "acme", "--config", "t.toml", "--set", "currency=EUR").code == 0
    assert acme.control.tenant("acme").config == TenantConfig(profile="enterprise", currency="EUR")
    unknown = run("tenants", "set", "nosuch", "--set", "currency=EUR")
    assert (unknown.code, "no such tenant" in unknown.err) == (1, True)


def test_a_sample_of_a_tenant_s_settings(run: Run) -> None:
    found = run("tenants", "set", "anything", "--sample")
    assert found.code == 0
    assert '#time_zone = "UTC"' in found.out


def test_tenants_are_listed(run: Run, acme: DataFolder) -> None:
    assert "SEK" in run("tenants", "list").out
    listed = run("tenants", "list", "--json").json
    assert [t["id"] for t in listed] == ["acme", "platform"]
    assert listed[0]["config"]["currency"] == "SEK"


def test_keys_are_made_listed_and_revoked(run: Run, acme: DataFolder) -> None:
    made = run("keys", "create", "acme", "--scope", "write", "--label", "ios").out.strip()
    everywhere = run("keys", "create", "--all", "--scope", "read").out.strip()
    key, other = acme.control.authenticate(made), acme.control.authenticate(everywhere)
    assert key is not None
    assert other is not None
    assert (key.tenant, key.scopes, key.label) == ("acme", {Scope.WRITE}, "ios")
    assert (other.tenant, other.scopes) == (None, {Scope.READ})
    listed = run("keys", "list", "--json")
    assert {k["id"] for k in listed.json} == {k.id for k in acme.control.keys(None)}
    assert made.rpartition("_")[2] not in listed.out
    assert [k["id"] for k in run("keys", "list", "-t", "acme", "--json").json] == [key.id]
    assert "(all)" in run("keys", "list").out
    assert run("keys", "revoke", key.id).code == 0
    assert run("keys", "revoke", everywhere).code == 0
    assert acme.control.authenticate(made) is None
    assert acme.control.authenticate(everywhere) is None
    assert run("keys", "revoke", key.id).code == 1


def test_encryption_keys_are_rotated(run: Run, acme: DataFolder) -> None:
    def ids(purpose: Purpose) -> set[int]:
        return {k.id for k in acme.keys.keyset("acme").keys if k.purpose is purpose}

    before = ids(Purpose.AEAD), ids(Purpose.PSEUDONYM)
    assert run("keys", "rotate", "acme").code == 0
    assert len(ids(Purpose.AEAD)) == len(before[0]) + 1
    assert ids(Purpose.PSEUDONYM) == before[1]
    assert "pseudonym" in run("keys", "rotate", "acme", "--pseudonyms").err
    assert len(ids(Purpose.PSEUDONYM)) == len(before[1]) + 1


def test_shredding_asks_first(run: Run, acme: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert run("keys", "shred", "acme").code == 1
    assert acme.keys.keyset("acme")
    assert run("keys", "shred", "nosuch", "--yes").code == 1
    monkeypatch.setattr(sys, "stdin", io.StringIO("acme\n"))
    assert run("keys", "shred", "acme").code == 0
    with pytest.raises(LifecycleError):
        acme.keys.keyset("acme")


def test_shredding_without_asking(run: Run, acme: DataFolder) -> None:
    assert run("keys", "shred", "acme", "--yes").code == 0
    with pytest.raises(LifecycleError):
        acme.keys.keyset("acme")


def _fold(folder: DataFolder, **counts: LedgerCounts) -> None:
    folder.ledger.fold(Fold({("acme", kind): c for kind, c in counts.items()}, (), (), 1, {}))


def test_the_ledger_is_read_without_a_server(run: Run, acme: DataFolder) -> None:
    _fold(acme, playback=LedgerCounts(offered=10, stored=7, duplicate=1, rejected=2), log=LedgerCounts(5, 5))
    found = run("ledger")
    assert found.code == 0
    assert "Every event is accounted for." in found.out
    assert [line.split() for line in found.out.splitlines() if "playback" in line] == [
        ["acme", "playback", "10", "7", "1", "2", "0", "0", "0"]
    ]
    told = run("ledger", "--tenant", "acme", "--json").json
    assert told["acme"]["playback"]["stored"] == 7
    assert run("ledger", "--tenant", "platform", "--json").json == {"platform": {}}
    assert run("ledger", "--tenant", "nosuch").code == 1


def test_a_ledger_that_does_not_balance_fails(run: Run, acme: DataFolder) -> None:
    _fold(acme, playback=LedgerCounts(offered=10, stored=7))
    found = run("ledger")
    assert found.code == 1
    assert "Unaccounted for: acme playback." in found.out
    assert run("ledger", "--json").code == 1


def test_the_ledger_of_a_server_elsewhere(run: Run) -> None:
    counts = {"offered": 2, "stored": 1, "duplicate": 1, "rejected": 0, "dropped": 0, "in_flight": 0, "balance": 0}

    def respond(request: object) -> Answer:
        path = request.path  # type: ignore[attr-defined]
        return Answer(body=[{"id": "a"}] if path == "/v1/tenants" else {"total": counts, "types": {"log": counts}})

    with serving(respond) as server:
        found = run("ledger", "--url", server.url, "--key", "k", "--json")
    assert (found.code, found.json) == (0, {"a": {"log": counts}})


def _record(tenant: str, kind: str, rows: list[dict[str, object]]) -> Record:
    fields = [f for f in EVENT_TYPES[kind].stored_schema if any(f.name in row for row in rows)]
    batch = pa.RecordBatch.from_pylist(rows, schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    body = sink.getvalue().to_pybytes()
    return Record(tenant, kind, 5, 0, len(rows), len(rows), 0, 0, 0, body=body)


def test_events_in_the_log_are_shown_as_they_are_stored(run: Run, acme: DataFolder) -> None:
    writer = LogWriter(acme.log)
    writer.append(
        [
            _record("acme", "playback", [{"user_id": b"\x01\xff", "ms_played": 5, "event_time": 0, "skipped": True}]),
            _record("other", "playback", [{"user_id": b"\x02", "ms_played": 6, "skipped": False}]),
            _record("acme", "log", [{"severity": "INFO"}, {"severity": "ERROR"}]),
        ]
    )
    writer.close()

    def tap(*arguments: object) -> list[dict[str, object]]:
        found = run("tap", "--events", *arguments, "--from-start")
        assert found.code == 0
        return [json.loads(line) for line in found.out.splitlines()]

    (event,) = tap("playback", "--limit", 1)
    assert event == {
        "tenant": "acme",
        "type": "playback",
        "position": 1,
        "user_id": "01ff",
        "event_time": "1970-01-01T00:00:00+00:00",
        "ms_played": 5,
        "skipped": True,
    }
    assert [e["position"] for e in tap("all", "--limit", 4)] == [1, 2, 3, 3]
    assert [e["tenant"] for e in tap("playback", "--tenant", "other", "--limit", 1)] == ["other"]
    assert [e["severity"] for e in tap("log", "--where", "severity=ERROR", "--limit", 1)] == ["ERROR"]
    assert [e["position"] for e in tap("all", "--where", "skipped=false", "--where", "user_id=02", "--limit", 1)] == [2]
    assert run("tap", "--events", "nosuch").code == 1


def test_without_from_start_only_new_events_are_shown(
    run: Run, acme: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collectors.clock import SystemClock

    writer = LogWriter(acme.log)
    writer.append([_record("acme", "log", [{"severity": "OLD"}])])
    waited = threading.Event()

    def block(*_: object) -> None:
        if not waited.is_set():  # the log was read to its end: now something new comes
            waited.set()
            writer.append([_record("acme", "log", [{"severity": "NEW"}])])

    monkeypatch.setattr(SystemClock, "block", block)
    found = run("tap", "--events", "log", "--limit", 1)
    writer.close()
    assert [json.loads(line)["severity"] for line in found.out.splitlines()] == ["NEW"]


def test_check_tells_what_would_run(
    run: Run, acme: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text("port = 9\n[lake]\nload_seconds = 2\n")
    monkeypatch.setenv("COLLECTORS_HOST", "::1")
    found = run("check", "c.toml")
    assert found.code == 0
    assert [line.split() for line in found.out.splitlines() if "load_seconds" in line] == [
        ["lake.load_seconds", "2.0", "1.0"]
    ]
    assert "[::1]:9" in found.out
    (told,) = [line for line in found.out.splitlines() if "acme: " in line]
    assert {"security_events", "revenue_metrics", "user_engagement"} <= set(told.split("acme: ")[1].split(", "))
    assert "platform: system_performance" in found.out


def test_check_of_a_new_folder(run: Run) -> None:
    found = run("check")
    assert found.code == 0
    assert "127.0.0.1:8080" in found.out
    assert "The folder is new" in found.out


def test_check_prints_every_problem_with_its_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("prot = 9\nhost = 1\n")
    found = run("check", "c.toml")
    assert found.code == 2
    assert [line.split(": ")[:2] for line in found.err.splitlines()] == [["c.toml:1", "prot"], ["c.toml:2", "host"]]


def test_check_prints_sample_and_schema(run: Run) -> None:
    assert "#port = 8080" in run("check", "--sample").out
    assert "TenantConfig" in run("check", "--schema").json["$defs"]


def test_collectors_are_listed_and_described(run: Run) -> None:
    listed = {c["name"]: c for c in run("collectors", "--json").json}
    assert listed["system_performance"]["kind"] == "sampling"
    assert listed["security_events"]["kind"] == "streaming"
    assert listed["user_engagement"]["description"].endswith(".")
    assert "system_performance" in run("collectors").out
    metrics = run("collectors", "system_performance", "--json").json
    assert len(metrics) == listed["system_performance"]["metrics"]
    assert "cpu_usage" in {alias for m in metrics for alias in m["aliases"]}
    assert "system.cpu.time" in run("collectors", "system_performance").out
    assert run("collectors", "nosuch").code == 1


def test_a_collector_whose_extra_is_missing_does_not_hide_the_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import collectors.contract.registry as registry

    load = registry.collector_class

    def some(name: str) -> object:
        if name == "user_engagement":
            raise ModuleNotFoundError("No module named 'soundfile'", name="soundfile")
        return load(name)

    monkeypatch.setattr(registry, "collector_class", some)
    listed = {c["name"]: c for c in run("collectors", "--json").json}
    assert "soundfile" in listed["user_engagement"]["description"]
    assert listed["system_performance"]["metrics"] > 0


def test_event_types_and_fields_are_listed(run: Run) -> None:
    assert [t["type"] for t in run("events", "--json").json] == list(EVENT_TYPES)
    text = run("events").out
    assert all(name in text for name in EVENT_TYPES)
    assert "50 years" in text
    fields = {f["name"]: f for f in run("events", "payment", "--json").json["fields"]}
    assert set(fields) == set(EVENT_TYPES["payment"].by_name)
    assert fields["amount_minor"]["allowed"] == "from 0"
    assert fields["customer_id"]["personal"] == "identifier"
    assert "charge, refund" in run("events", "payment").out
    assert run("events", "nosuch").code == 1
