"""The commands against a real server, started as people start it: ``collectors serve --demo``."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pyarrow as pa
import pytest
from cli_runner import Run
from deltalake import DeltaTable

from collectors.app.folder import DataFolder
from collectors.clock import SYSTEM_CLOCK

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 120.0
T = TypeVar("T")


def eventually(what: Callable[[], T]) -> T:
    """Return the first true thing ``what`` returns."""
    deadline = SYSTEM_CLOCK.monotonic() + PATIENCE_SECONDS
    while not (found := what()):
        if SYSTEM_CLOCK.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_SECONDS} seconds")
        threading.Event().wait(0.05)
    return found


@dataclass
class Served:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    data: Path
    output: Path

    def ready(self) -> None:
        def up() -> bool:
            assert self.process.poll() is None, self.output.read_text()
            return "Open http" in self.output.read_text()

        eventually(up)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def _serve(data: Path, *arguments: str) -> Served:
    output = data.with_suffix(".out")
    env = {name: value for name, value in os.environ.items() if not name.startswith("COLLECTORS_")}
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "collectors.cli", "serve", "--port", "0", "--data", str(data), *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
        )
    served = Served(process, data, output)
    try:
        served.ready()
    except BaseException:
        process.kill()
        raise
    return served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = _serve(tmp_path_factory.mktemp("served") / "data", "--demo", "--demo-rate", "400")
    yield served
    family = served.family()
    assert len(family) == 3  # gateway, worker, feeder
    served.process.kill()  # nobody is told: the kernel must tell them
    served.process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive


@pytest.fixture
def cli(run: Run, server: Served, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLLECTORS_DATA", str(server.data))
    return run


def _settled(cli: Run, tenant: str) -> dict[str, dict[str, int]]:
    """Wait until everything accepted is in the lake; return the ledger by type."""

    def look() -> dict[str, dict[str, int]] | None:
        found = cli("ledger", "--tenant", tenant, "--json")
        assert found.code == 0, found
        types: dict[str, dict[str, int]] = found.json[tenant]
        return types if all(c["in_flight"] == 0 for c in types.values()) else None

    return eventually(look)


def test_the_greeting_leads_to_a_page_and_a_key_that_works(server: Served) -> None:
    text = server.output.read_text()
    match = re.search(r"^Open (http://127\.0\.0\.1:\d+)/#key=(\S+)$", text, re.MULTILINE)
    assert match
    url, key = match.groups()
    assert f"collectors top --data {server.data}" in text
    assert json.loads((server.data / "server.json").read_text()) == {"url": url, "pid": server.process.pid}
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/").status_code == 200
        seen = client.get("/v1/overview", headers={"authorization": f"Bearer {key}"}).json()
    assert {t["id"] for t in seen["tenants"]} == {"platform", "nordic", "americas", "tokyo"}


def test_the_demo_s_tenants_are_fed_and_accounted_for(cli: Run) -> None:
    def fed() -> bool:
        found = cli("ledger", "--json")
        assert found.code == 0
        return all(
            found.json.get(t, {}).get("playback", {}).get("stored", 0) > 0 for t in ("nordic", "americas", "tokyo")
        )

    eventually(fed)
    listed = {t["id"]: t["config"] for t in cli("tenants", "list", "--json").json}
    assert (listed["tokyo"]["time_zone"], listed["tokyo"]["currency"]) == ("Asia/Tokyo", "JPY")


def test_top_and_tap_show_what_goes_by(cli: Run) -> None:
    shown = cli("top", "--once")
    assert shown.code == 0
    assert "nordic" in shown.out
    samples = cli("tap", "--samples", "collectors.intake.*", "--tenant", "nordic", "--json", "--limit", 3)
    assert {json.loads(line)["tenant"] for line in samples.out.splitlines()} == {"nordic"}
    events = cli("tap", "--events", "playback", "--limit", 2)
    for line in events.out.splitlines():
        assert re.fullmatch("[0-9a-f]{32}", json.loads(line)["user_id"])


def test_a_simulation_s_truth_receipts_and_ledger_agree(cli: Run) -> None:
    assert cli("tenants", "create", "sim").code == 0
    arguments = ("--tenant", "sim", "--rate", "flat-out", "--events", 20_000, "--users", 500, "--seed", 11)
    found = cli("simulate", *arguments, "--json")
    assert found.code == 0
    assert found.json["receipts"]["accepted"] == found.json["truth"]["total"] == 20_000
    again = cli("simulate", *arguments, "--connections", 4, "--format", "ndjson", "--json")
    assert again.code == 0
    truth = found.json["truth"]["tenants"]["sim"]["events"]
    ledger = _settled(cli, "sim")
    assert {kind: c["offered"] for kind, c in ledger.items()} == {kind: 2 * n for kind, n in truth.items()}


def _table(path: Path, rows: int) -> tuple[int, int]:
    """Write sales as a table of text in columns; return their sum in cents and the number of customers."""
    random_ = random.Random(5)
    total, customers, lines = 0, set(), []
    for _ in range(rows):
        cents, customer = random_.randrange(1, 20_000), random_.randrange(1, rows // 3)
        total += cents
        customers.add(customer)
        day = f"1997{random_.randrange(1, 13):02d}{random_.randrange(1, 29):02d}"
        lines.append(f" {customer:05d} {day}  {random_.randrange(1, 9)}  {cents / 100:6.2f}\r\n")
    path.write_text("".join(lines), newline="")
    return total, len(customers)


IMPORT = (
    *("--type", "payment", "--columns", "customer,date,cds,amount"),
    *("--map", "customer=customer_id", "--map", "date=event_time", "--time-format", "%Y%m%d"),
    *("--map", "amount=amount_minor*100", "--map", "currency:=USD", "--map", "kind:=charge"),
    *("--map", "status:=succeeded", "--map", "payment_id:=sale-{row}"),
)


def _lake(server: Served, tenant: str) -> list[dict[str, Any]]:
    table = DeltaTable(str(DataFolder(server.data).lake / "payment"))
    columns = ["tenant_id", "event_time", "customer_id", "amount_minor", "payment_id", "properties"]
    return [r for r in pa.table(table.to_pyarrow_dataset().to_table(columns)).to_pylist() if r["tenant_id"] == tenant]


def test_a_table_of_sales_is_imported_exactly_and_only_once(cli: Run, server: Served, tmp_path: Path) -> None:
    total, customers = _table(tmp_path / "sales.txt", 3000)
    assert cli("tenants", "create", "shop", "--set", "policies.payment.properties=keep").code == 0
    dry = cli("import", tmp_path / "sales.txt", "--tenant", "shop", *IMPORT, "--dry-run")
    assert dry.code == 0
    assert "0 of the first 3,000 rows would be rejected. Nothing was sent." in dry.out
    first = cli("import", tmp_path / "sales.txt", "--tenant", "shop", *IMPORT, "--batch-rows", 700)
    assert (first.code, first.out) == (
        0,
        "3,000 rows: 3,000 accepted, 0 known already, 0 rejected, 0 dropped by policy\n",
    )
    (tmp_path / "sales.txt").rename(tmp_path / "renamed.txt")
    again = cli("import", tmp_path / "renamed.txt", "--tenant", "shop", *IMPORT, "--json")
    assert again.code == 0
    assert (again.json["accepted"], again.json["duplicate"], again.json["unaccounted"]) == (0, 3000, 0)
    ledger = _settled(cli, "shop")["payment"]
    assert (ledger["stored"], ledger["duplicate"], ledger["balance"]) == (3000, 3000, 0)
    rows = _lake(server, "shop")
    assert sum(r["amount_minor"] for r in rows) == total
    assert len({r["customer_id"] for r in rows}) == customers
    assert {r["payment_id"] for r in rows} == {f"sale-{i}" for i in range(1, 3001)}
    assert {r["event_time"].year for r in rows} == {1997}
    assert all(set(json.loads(r["properties"])) == {"cds"} for r in rows)


def test_rows_that_do_not_fit_wait_to_be_mended(cli: Run, server: Served, tmp_path: Path) -> None:
    assert cli("tenants", "create", "mend").code == 0
    (tmp_path / "x.csv").write_text(
        "payment_id,customer_id,event_time,amount_minor,currency,kind\n"
        "p1,c1,2020-01-01,100,EUR,charge\n"
        "p2,c2,some day,200,EUR,charge\n"
        "p3,c3,2020-01-03,300,EUR,chrg\n"
        "p4,c4\n"
    )
    arguments = ("import", tmp_path / "x.csv", "--type", "payment", "--tenant", "mend")
    dry = cli(*arguments, "--dry-run")
    assert "row 2: column event_time is no time for event_time" in dry.out
    assert "row 3: kind must be one of: charge" in dry.out
    assert "a line: the line can't be read" in dry.out
    assert "3 of the first 4 rows would be rejected" in dry.out
    found = cli(*arguments)
    assert found.code == 1
    assert "4 rows: 1 accepted, 0 known already, 3 rejected" in found.out
    assert "row 2: event_time" in found.out
    assert "row 3: kind" in found.out
    assert "a line: the line is not JSON" in found.out
    assert "Rejected rows wait as dead letters at position" in found.out

    def letters() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = cli("replay", "--list", "--tenant", "mend", "--json").json["mend"]
        return listed if sum(letter["rows"] for letter in listed) == 3 else []

    assert {reason for letter in eventually(letters) for reason in letter["reasons"]} == {
        "wrong_type:event_time",
        "not_allowed",
        "not_json",
    }
    mended = cli(
        "replay",
        "--tenant",
        "mend",
        "--all",
        "--set",
        "kind=charge",
        "--set",
        "event_time=2020-01-02T00:00:00Z",
        "--json",
    )
    assert mended.code == 1  # what is no event at all can't be mended by setting fields
    assert mended.json["total"] == {"accepted": 2, "duplicate": 0, "rejected": 1, "dropped": 0}
    ledger = _settled(cli, "mend")["payment"]
    assert (ledger["offered"], ledger["stored"], ledger["rejected"], ledger["balance"]) == (4, 3, 1, 0)
    assert sorted((r["payment_id"], r["amount_minor"]) for r in _lake(server, "mend")) == [
        ("p1", 100),
        ("p2", 200),
        ("p3", 300),
    ]


def test_what_cannot_be_imported_is_told_before_anything_is_sent(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("payment_id,customer_id,amount_minor,currency,kind\np,c,many,EUR,charge\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("a,b\n")
    base = ("--type", "payment", "--tenant", "nobody")
    for arguments, code, words in (
        (("x.csv", *base), 2, "none of the first 1 rows can be used: column amount_minor is no whole number"),
        (("empty.csv", *base), 2, "holds no rows"),
        (("header.csv", *base), 2, "holds no rows"),
        (("no.csv", *base), 2, "No such file"),
        (("x.csv", "--type", "paymnt", "--tenant", "x"), 1, "no event type 'paymnt'"),
        (("x.csv", *base, "--time-zone", "Mars"), 2, "Europe/Stockholm"),
        (("x.csv", *base, "--time-format", "%Q"), 2, "%Y%m%d, or epoch"),
    ):
        found = cli("import", *arguments)
        assert (found.code, words in found.err) == (code, True), found


def test_tenants_that_are_not_there_are_told(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("track_id,ms_played\nt,1\n")
    found = cli("import", "x.csv", "--type", "playback", "--tenant", "nosuch")
    assert (found.code, "no such tenant" in found.err) == (1, True)
    assert cli("simulate", "--tenant", "nosuch", "--events", 10, "--users", 100).code == 1


def test_an_interrupted_import_can_be_done_again(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collectors.cli.sending import Receipts

    assert cli("tenants", "create", "again").code == 0
    lines = "".join(f"t-{i},{i}\n" for i in range(5000))
    (tmp_path / "plays.csv").write_text(f"track_id,ms_played\n{lines}")
    arguments = ("import", "plays.csv", "--type", "playback", "--tenant", "again", "--batch-rows", 100)
    add, before = Receipts.add, {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def interrupted(self: Receipts, *answer: Any) -> None:
        add(self, *answer)
        if self.requests == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Receipts, "add", interrupted)
    try:
        stopped = cli(*arguments)
    finally:
        monkeypatch.setattr(Receipts, "add", add)
        for number, handler in before.items():
            signal.signal(number, handler)
    assert stopped.code == 130
    assert "Import the file again to go on" in stopped.err
    assert cli(*arguments).code == 0
    assert _settled(cli, "again")["playback"]["stored"] == 5000


def test_a_revoked_key_is_refused(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = cli("tenants", "create", "gone").out.strip()
    (tmp_path / "x.csv").write_text("track_id,ms_played\nt,1\n")
    monkeypatch.setenv("COLLECTORS_KEY", key)
    arguments = ("import", "x.csv", "--type", "playback", "--tenant", "gone")
    assert cli(*arguments).code == 0
    assert cli("keys", "revoke", key).code == 0
    assert eventually(lambda: cli(*arguments).code) == 1


def test_a_second_server_on_the_folder_is_refused(cli: Run) -> None:
    found = cli("serve", "--port", 0)
    assert found.code == 2
    assert "another server already uses the data folder" in found.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_stops_cleanly_and_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    served = _serve(tmp_path / "data", "--demo")
    family = served.family()
    assert len(family) == 3
    served.process.send_signal(number)
    assert served.process.wait(PATIENCE_SECONDS) == 0
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not (tmp_path / "data" / "server.json").exists()
    assert "Traceback" not in served.output.read_text()
    assert "process.died" not in served.output.read_text()
