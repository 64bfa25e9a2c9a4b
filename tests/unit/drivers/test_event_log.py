"""The embedded log keeps what it acknowledged, in order, over segments, restarts, torn writes and full disks."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.disk import full_disk

from collectors.drivers.event_log import (
    LogReader,
    LogWriter,
    Record,
    delete_segments,
    pending_replays,
    recent_records,
    segment_paths,
    tail_counts,
)
from collectors.errors import StorageUnavailable


def record(body: bytes | None = b"x", *, tenant: str = "acme", type_: str = "playback", **counts: int) -> Record:
    values = {"rows": 1, "offered": 1, "duplicate": 0, "rejected": 0, "dropped": 0, "replays": 0} | counts
    return Record(tenant, type_, 7, 3, **values, body=body, dead=None)


def read_all(folder: Path, after: int = 0) -> list[Record]:
    reader = LogReader(folder, after=after)
    found: list[Record] = []
    while batch := reader.read(max_records=3):
        found += batch
    reader.close()
    return found


def test_records_come_back_whole_and_in_order(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    first = writer.append([record(b"a"), record(None, rows=0, duplicate=1)])
    second = writer.append([record(b"c", tenant="other", type_="auth")])

    found = read_all(tmp_path)

    assert (first, second) == (1, 3)
    assert [r.position for r in found] == [1, 2, 3]
    assert [r.body for r in found] == [b"a", None, b"c"]
    assert (found[2].tenant, found[2].type, found[2].acked_us, found[2].covered_since_us) == ("other", "auth", 7, 3)
    writer.close()


@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=30), reopen_every=st.integers(1, 7))
def test_any_sequence_of_commits_and_restarts_reads_back(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], reopen_every: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = LogWriter(folder, segment_bytes=4096)
    for i, size in enumerate(sizes):
        writer.append([record(bytes([i]) * size)])
        if i % reopen_every == 0:
            writer.close()
            writer = LogWriter(folder, segment_bytes=4096)
    writer.close()

    found = read_all(folder)

    assert [r.body for r in found] == [bytes([i]) * size for i, size in enumerate(sizes)]
    assert [r.position for r in found] == list(range(1, len(sizes) + 1))


def test_a_reader_follows_a_writer_into_new_segments(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment_bytes=1000)
    reader = LogReader(tmp_path)
    assert reader.read() == []
    for i in range(10):
        writer.append([record(bytes([i]) * 600)])
        assert [r.body for r in reader.read()] == [bytes([i]) * 600]
    assert len(segment_paths(tmp_path)) > 3
    assert reader.read() == []
    assert reader.position == 10
    reader.close()
    writer.close()


def test_a_reader_leaves_bodies_it_does_not_want_in_the_file(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append([record(b"a", type_="playback"), record(b"b", type_="auth")])
    reader = LogReader(tmp_path)
    assert [r.body for r in reader.read(bodies=frozenset({"auth"}))] == [None, b"b"]
    reader.close()
    writer.close()


def test_segments_are_deleted_only_when_all_their_records_are_done(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment_bytes=1)
    for i in range(4):
        writer.append([record(bytes([i])), record(b"")])
    assert len(segment_paths(tmp_path)) == 4

    assert delete_segments(tmp_path, through=3) == 1
    assert [r.position for r in read_all(tmp_path, after=2)] == [3, 4, 5, 6, 7, 8]
    assert delete_segments(tmp_path, through=100) == 2
    assert len(segment_paths(tmp_path)) == 1, "the newest segment stays"
    writer.close()


def test_positions_go_on_after_a_restart_even_if_nothing_was_written_since(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment_bytes=1)
    writer.append([record(), record()])
    writer.close()
    for _ in range(3):
        LogWriter(tmp_path).close()
    writer = LogWriter(tmp_path)
    assert writer.append([record()]) == 3
    writer.close()


def test_a_torn_last_write_takes_only_the_unacknowledged_commit_along(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    for i in range(5):
        writer.append([record(bytes([i]) * 5000)])
    (segment,) = segment_paths(tmp_path)
    acknowledged = segment.stat().st_size
    durable = (tmp_path / "durable").read_bytes()
    writer.append([record(b"torn" * 5000), record(b"and more")])
    image = segment.read_bytes()
    writer.close()

    for cut in range(acknowledged, len(image) + 1, max(1, (len(image) - acknowledged) // 7)):
        copy = tmp_path / f"torn-{cut}"
        copy.mkdir()
        (copy / segment.name).write_bytes(image[:cut] + b"\0" * 100)
        (copy / "durable").write_bytes(durable)
        assert len(read_all(copy)) == 5, "nobody reads what may still be undone"
        with contextlib.closing(LogWriter(copy)) as again:
            kept = again.next_position - 1
            again.append([record(b"after")])
            # The last record ends in padding, which may be missing.
            whole = 7 if cut > len(image) - 56 else 6 if cut > len(image) - 200 else 5
        assert kept == whole
        assert [r.body[:1] for r in read_all(copy) if r.body] == [
            *(bytes([i]) for i in range(5)),
            *[b"t", b"a"][: kept - 5],
            b"a",
        ]


def test_after_a_crash_of_the_machine_the_log_is_read_as_far_as_it_was_said_to_be_durable(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    for i in range(3):
        writer.append([record(bytes([i]))])
    writer.close()
    (tmp_path / "durable").unlink()
    assert read_all(tmp_path) == []
    assert tail_counts(tmp_path, after=0) == []
    LogWriter(tmp_path).close()
    assert [r.position for r in read_all(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("spare", [0, 100, 128, 5000])
@pytest.mark.parametrize("already", [0, 1])
def test_a_disk_that_refuses_leaves_nothing_half_written_and_recovers(tmp_path: Path, spare: int, already: int) -> None:
    writer = LogWriter(tmp_path)
    reader = LogReader(tmp_path)
    writer.append([record(b"before")] * already)
    for _ in range(2):
        with full_disk(spare), pytest.raises(StorageUnavailable, match="free or repair the disk"):
            writer.append([record(b"fits"), record(b"y" * 10**6)])
        assert [r.body for r in read_all(tmp_path)] == [b"before"] * already
        assert sum(t.rows for t in tail_counts(tmp_path, after=0)) == already
    position = writer.append([record(b"after")])

    assert position == already + 1
    assert [r.body for r in reader.read()] == [b"before"] * already + [b"after"]
    writer.close()


def test_what_a_failed_commit_left_is_void_once_the_next_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(tmp_path)
    writer.append([record(b"before")])
    reader = LogReader(tmp_path)
    assert len(reader.read()) == 1
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", _input_output_error)
        broken.setattr(os, "ftruncate", _input_output_error)
        with pytest.raises(StorageUnavailable):
            writer.append([record(b"void"), record(b"void")])
    assert reader.read() == []
    writer.append([record(b"after")])
    assert [r.body for r in reader.read()] == [b"after"]
    writer.append([record(b"more")])
    assert [r.body for r in read_all(tmp_path)] == [b"before", b"after", b"more"]
    writer.close()
    LogWriter(tmp_path).close()
    assert [r.body for r in read_all(tmp_path)] == [b"before", b"after", b"more"]
    assert sum(t.rows for t in tail_counts(tmp_path, after=0)) == 3
    assert [r.body for r in recent_records(tmp_path, max_bytes=10**6)] == [b"more", b"after", b"before"]


def _input_output_error(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("place", [3, 20, 110, 130, 300])
def test_damage_is_told_and_what_follows_is_kept(tmp_path: Path, place: int) -> None:
    writer = LogWriter(tmp_path)
    for i in range(3):
        writer.append([record(bytes([i]) * 300)])
    (segment,) = segment_paths(tmp_path)
    size = segment.stat().st_size
    image = bytearray(segment.read_bytes())
    image[size // 3 + place] ^= 0x40
    segment.write_bytes(image)

    reader = LogReader(tmp_path)
    assert [r.position for r in reader.read()] == [1]
    with pytest.raises(StorageUnavailable, match="damaged at position 2 in 0"):
        reader.read()
    writer.close()
    writer = LogWriter(tmp_path)
    assert writer.append([record(b"more")]) == 4, "the log goes on"
    assert segment.stat().st_size == size, "and who repairs it finds all of it"
    writer.close()


def test_a_reader_goes_on_behind_segments_that_were_deleted(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment_bytes=1)
    for i in range(4):
        writer.append([record(bytes([i]))])
    reader = LogReader(tmp_path)
    assert len(reader.read(max_records=1)) == 1
    delete_segments(tmp_path, through=3)
    assert [r.position for r in reader.read()] == [4]
    writer.close()


@given(
    names=st.tuples(st.text(max_size=70), st.text(max_size=40)),
    body=st.none() | st.binary(max_size=300),
    dead=st.none() | st.binary(max_size=300),
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=8, max_size=8),
)
def test_any_record_reads_back_and_its_body_is_aligned(
    tmp_path_factory: pytest.TempPathFactory,
    names: tuple[str, str],
    body: bytes | None,
    dead: bytes | None,
    numbers: list[int],
) -> None:
    given_record = Record(*names, *numbers, body=body, dead=dead)
    folder = tmp_path_factory.mktemp("log")
    with contextlib.closing(LogWriter(folder)) as writer:
        writer.append([record(b"first"), given_record])
    found = read_all(folder)[1]
    assert found == dataclasses.replace(given_record, position=2)
    if found.body:
        assert np.frombuffer(found.body, np.uint8).ctypes.data % 64 == 0


def test_recent_records_come_newest_first_within_the_budget(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment_bytes=500)
    for i in range(6):
        writer.append([record(bytes([i]) * 300)])
    newest = list(recent_records(tmp_path, max_bytes=700))
    assert [r.position for r in newest] == [6, 5, 4]
    assert len(list(recent_records(tmp_path, max_bytes=10**9))) == 6
    writer.close()


def test_the_tail_is_added_up_without_what_stands_before_it(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment_bytes=1)
    for _ in range(3):
        writer.append([record(offered=5, rows=2, duplicate=1, rejected=1, dropped=1), record(tenant="b")])
    totals = {(t.tenant, t.type): t for t in tail_counts(tmp_path, after=2)}
    acme = totals["acme", "playback"]
    assert (acme.offered, acme.rows, acme.duplicate, acme.rejected, acme.dropped) == (10, 4, 2, 2, 2)
    assert totals["b", "playback"].offered == 2
    writer.close()


def test_replays_that_are_not_folded_yet_are_known(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment_bytes=1)
    for replays in (0, 11, 0, 12):
        writer.append([record(replays=replays)])
    assert pending_replays(tmp_path, after=0) == {11, 12}
    assert pending_replays(tmp_path, after=2) == {12}
    writer.close()


def test_a_segment_that_is_only_a_file_yet_has_no_records(tmp_path: Path) -> None:
    (tmp_path / f"{1:020d}.segment").touch()
    reader = LogReader(tmp_path)
    assert reader.read() == []
    writer = LogWriter(tmp_path)
    writer.append([record(b"a")])
    assert [r.body for r in reader.read()] == [b"a"]
    reader.close()
    writer.close()


def test_a_reader_starts_in_the_middle_of_any_segment(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, segment_bytes=400)
    for i in range(9):
        writer.append([record(bytes([i]) * 100)])
    for after in itertools.chain(range(9)):
        assert [r.position for r in read_all(tmp_path, after=after)] == list(range(after + 1, 10))
    writer.close()
