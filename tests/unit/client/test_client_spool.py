"""Batches on disk."""

from __future__ import annotations

import os
import stat
import uuid

import pytest
from intake_double import QuickClock

from collectors.client.packing import Parcel
from collectors.client.spool import REJECTED, Spool
from collectors.errors import ConfigError, Overloaded, StorageUnavailable


def parcel(ticket, body=b"body", part="a", rows=3) -> Parcel:
    return Parcel(ticket, part, "playback", rows, uuid.UUID(int=ticket).hex, len(body), body)


def opened(root, max_bytes=1000, tenant="acme") -> Spool:
    return Spool(root, tenant, max_bytes, QuickClock())


def described(parcels):
    return [(p.ticket, p.part, p.event_type, p.rows, p.key, p.size) for p in parcels]


def lanes(root):
    return sorted(f for f in (root / "acme").iterdir() if f.name != REJECTED)


def test_the_next_client_recovers_what_was_put_in_order(tmp_path):
    first = opened(tmp_path)
    parcels = [parcel(1), parcel(2, part="b"), parcel(2, part="a"), parcel(2, part="ab"), parcel(10)]
    for each in parcels:
        kept = first.put(each)
        assert kept.body is None
        assert kept.path.read_bytes() == b"body"
    first.close()
    found = opened(tmp_path).recovered
    order = [parcels[i] for i in (0, 2, 3, 1, 4)]
    assert described(found) == described(order)
    assert all(p.path.read_bytes() == b"body" for p in found)


def test_what_was_removed_does_not_come_back(tmp_path):
    first = opened(tmp_path)
    kept = [first.put(parcel(i)) for i in range(3)]
    first.remove(kept[1])
    first.close()
    assert [p.ticket for p in opened(tmp_path).recovered] == [0, 2]


def test_a_lane_in_use_is_nobody_elses(tmp_path):
    first, second = opened(tmp_path), opened(tmp_path)
    first.put(parcel(1))
    second.put(parcel(2))
    assert opened(tmp_path).recovered == []
    first.close()
    assert [p.ticket for p in opened(tmp_path).recovered] == [1]


def test_tenants_do_not_see_each_other(tmp_path):
    first = opened(tmp_path)
    first.put(parcel(1))
    first.close()
    assert opened(tmp_path, tenant="other").recovered == []


def test_a_clean_client_leaves_no_lane_behind(tmp_path):
    first = opened(tmp_path)
    kept = first.put(parcel(1))
    first.close()
    second = opened(tmp_path)
    [found] = second.recovered
    assert found.path == kept.path
    second.remove(found)
    second.close()
    second.close()
    assert lanes(tmp_path) == []


def test_the_bound_refuses_new_batches_and_room_comes_back(tmp_path):
    spool = opened(tmp_path, max_bytes=10)
    first = spool.put(parcel(1, b"12345"))
    spool.put(parcel(2, b"12345"))
    with pytest.raises(Overloaded, match="the spool is full"):
        spool.put(parcel(3, b"1"))
    spool.remove(first)
    spool.put(parcel(3, b"12345"))


def test_what_was_recovered_counts_against_the_bound(tmp_path):
    first = opened(tmp_path, max_bytes=10)
    first.put(parcel(1, b"12345678"))
    first.close()
    second = opened(tmp_path, max_bytes=10)
    with pytest.raises(Overloaded):
        second.put(parcel(2, b"123"))


def test_halves_go_beside_their_whole_even_over_the_bound(tmp_path):
    first = opened(tmp_path, max_bytes=4)
    first.put(parcel(1))
    first.close()
    second = opened(tmp_path, max_bytes=4)
    [whole] = second.recovered
    halves = [second.put(parcel(1, b"ha", part), beside=whole) for part in ("aa", "ab")]
    assert {h.path.parent for h in halves} == {whole.path.parent}


def test_unfinished_and_foreign_files_are_not_batches(tmp_path):
    first = opened(tmp_path)
    kept = first.put(parcel(1))
    lane = kept.path.parent
    (lane / ".0000000000000002a.playback.3.x.arrow.tmp").write_bytes(b"torn")
    (lane / "notes.txt").write_text("a person wrote this")
    (lane / "0000000000000002a.playback.0.0.arrow").write_bytes(b"odd")
    first.close()
    assert [p.ticket for p in opened(tmp_path).recovered] == [1]
    assert sorted(f.name[-4:] for f in lane.iterdir()) == [".txt", "rrow", "rrow"]


def test_refused_events_are_set_aside_up_to_the_bound_and_can_be_sent_again(tmp_path):
    spool = opened(tmp_path, max_bytes=10)
    aside = spool.set_aside(parcel(5), b"12345678")
    assert aside.read_bytes() == b"12345678"
    assert spool.set_aside(parcel(6), b"123") is None
    spool.close()
    assert opened(tmp_path, max_bytes=10).set_aside(parcel(6), b"123") is None
    again = tmp_path / "acme" / "again"
    again.mkdir()
    aside.rename(again / aside.name)
    assert [(p.ticket, p.size) for p in opened(tmp_path).recovered] == [(5, 8)]


def test_only_the_owner_may_read_the_events(tmp_path):
    opened(tmp_path / "spool")
    assert stat.S_IMODE((tmp_path / "spool" / "acme").stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_used_is_a_configuration_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="name a folder on a local disk"):
        opened(tmp_path / "file")


def test_a_disk_that_refuses_is_reported_and_takes_no_room(tmp_path):
    spool = opened(tmp_path, max_bytes=4)
    [lane] = lanes(tmp_path)
    lane.rmdir()
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="the spool cannot be written: No such file"):
            spool.put(parcel(1))
    (tmp_path / "acme" / REJECTED).rmdir()
    assert spool.set_aside(parcel(1), b"1") is None


def test_a_lane_adopted_in_between_is_replaced_by_another(tmp_path, monkeypatch):
    taken = []
    claim = os.open

    def hasty(path, flags, *more):
        if not taken and "-" in path.name:
            taken.append(path)
            path.rmdir()  # as another client does on closing that adopted the empty lane
        return claim(path, flags, *more)

    monkeypatch.setattr(os, "open", hasty)
    spool = opened(tmp_path)
    assert spool.put(parcel(1)).path.parent != taken[0]
