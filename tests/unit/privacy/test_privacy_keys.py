from __future__ import annotations

import base64
import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC

from collectors.clock import SystemClock
from collectors.errors import BadInput, ConfigError, LifecycleError, StorageUnavailable, UnknownName
from collectors.privacy.aead import open_sealed, seal
from collectors.privacy.keys import Key, Keyset, KeyStatus, Purpose
from collectors.privacy.keystore import FileKeyStore, parse_master_key

MASTER = bytes(range(32))


class FixedClock(SystemClock):
    def now_us(self) -> int:
        return 1_790_000_000_000_000


@pytest.fixture(params=[None, MASTER], ids=["plain", "wrapped"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileKeyStore:
    return FileKeyStore(tmp_path / "keys", master_key=request.param, clock=FixedClock())


def second(store: FileKeyStore, tmp_path: Path) -> FileKeyStore:
    """What another process would open."""
    return FileKeyStore(tmp_path / "keys", master_key=MASTER if store._master else None)


def file_of(tmp_path: Path, tenant: str = "acme") -> Path:
    return tmp_path / "keys" / f"{tenant}.json"


def test_new_tenant_gets_one_key_of_each_purpose(store: FileKeyStore) -> None:
    keyset = store.create("acme")
    assert [(k.purpose, k.status, k.created_us) for k in keyset.keys] == [
        (Purpose.PSEUDONYM, KeyStatus.ENABLED, 1_790_000_000_000_000),
        (Purpose.AEAD, KeyStatus.ENABLED, 1_790_000_000_000_000),
    ]
    assert all(len(k.material) == 32 and 0 < k.id < 2**32 for k in keyset.keys)
    assert len({k.material for k in (*keyset.keys, *store.create("other").keys)}) == 4


def test_keyset_is_the_same_in_every_process_and_cached_in_each(store: FileKeyStore, tmp_path: Path) -> None:
    made = store.create("acme")
    assert store.keyset("acme") == made
    assert second(store, tmp_path).keyset("acme") == made
    assert store.keyset("acme") is store.keyset("acme")


def test_create_keeps_what_exists(store: FileKeyStore) -> None:
    assert store.create("acme") == store.create("acme")


def test_rotation_is_noticed_by_another_process_and_old_values_still_open(store: FileKeyStore, tmp_path: Path) -> None:
    before = store.create("acme")
    other = second(store, tmp_path)
    sealed = seal(other.keyset("acme"), b"ad", b"value")
    rotated = store.rotate("acme")
    assert other.keyset("acme") == rotated
    assert rotated.keys[:2] == before.keys
    assert rotated.primary.id != before.primary.id
    assert rotated.pseudonym == before.pseudonym
    assert open_sealed(rotated, b"ad", sealed) == b"value"


def test_pseudonyms_change_only_by_their_own_rotation_and_stay_findable(store: FileKeyStore) -> None:
    before = store.create("acme")
    after = store.rotate("acme", Purpose.PSEUDONYM)
    assert after.primary == before.primary
    mac = CMAC(algorithms.AES256(before.pseudonym.material))
    mac.update("zoë".encode())
    old = mac.finalize()
    assert before.pseudonyms("zoë") == (old,)
    assert after.pseudonyms("zoë")[1:] == (old,)
    assert after.pseudonyms("zoë")[0] == after.pseudonym.cmac.digest("zoë".encode()) != old


def test_shredding_leaves_no_key_anywhere_and_is_noticed_by_another_process(
    store: FileKeyStore, tmp_path: Path
) -> None:
    store.create("acme")
    other = second(store, tmp_path)
    keys = other.keyset("acme").keys
    held = file_of(tmp_path).open("rb")  # as a reader, or forensics, would still hold the old content
    store.shred("acme")
    with held:
        assert set(held.read()) == {0}
    assert [f.name for f in (tmp_path / "keys").iterdir()] == ["acme.json"]
    text = file_of(tmp_path).read_text()
    entries = json.loads(text)["keys"]
    assert [(e["id"], e["status"], e["material"]) for e in entries] == [(k.id, "destroyed", "") for k in keys]
    for use in (store.keyset, other.keyset, store.create, store.rotate):
        with pytest.raises(LifecycleError, match="'acme' were shredded"):
            use("acme")
    store.shred("acme")
    assert file_of(tmp_path).read_text() == text


def test_shredding_one_tenant_leaves_the_others(store: FileKeyStore) -> None:
    store.create("acme")
    kept = store.create("kept")
    store.shred("acme")
    assert store.keyset("kept") == kept


def test_rotation_overwrites_the_old_file(store: FileKeyStore, tmp_path: Path) -> None:
    store.create("acme")
    with file_of(tmp_path).open("rb") as held:
        store.rotate("acme")
        assert set(held.read()) == {0}


def test_unreadable_keyset_can_still_be_shredded(store: FileKeyStore, tmp_path: Path) -> None:
    store.create("acme")
    file_of(tmp_path).write_text("{")
    store.shred("acme")
    with pytest.raises(LifecycleError, match="shredded"):
        store.keyset("acme")


def test_only_the_owner_may_read(store: FileKeyStore, tmp_path: Path) -> None:
    store.create("acme")
    store.rotate("acme")
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert file_of(tmp_path).parent.stat().st_mode & 0o777 == 0o700


def test_wrapped_file_holds_no_key_in_the_clear(tmp_path: Path) -> None:
    keyset = FileKeyStore(tmp_path / "keys", master_key=MASTER).create("acme")
    stored = [base64.b64decode(e["material"]) for e in json.loads(file_of(tmp_path).read_text())["keys"]]
    assert not any(key.material in blob for key in keyset.keys for blob in stored)


def test_file_of_before_the_master_key_is_wrapped_when_next_written(tmp_path: Path) -> None:
    plain = FileKeyStore(tmp_path / "keys").create("acme")
    wrapping = FileKeyStore(tmp_path / "keys", master_key=MASTER)
    assert wrapping.keyset("acme") == plain
    rotated = wrapping.rotate("acme")
    assert json.loads(file_of(tmp_path).read_text())["wrapped"]
    assert FileKeyStore(tmp_path / "keys", master_key=MASTER).keyset("acme") == rotated


@pytest.mark.parametrize(("master", "message"), [(None, "there is no master key"), (bytes(32), "does not open")])
def test_wrong_master_key_is_a_configuration_error(tmp_path: Path, master: bytes | None, message: str) -> None:
    FileKeyStore(tmp_path / "keys", master_key=MASTER).create("acme")
    with pytest.raises(ConfigError, match=f"keys of acme: .*{message}.*Fix: set the master key"):
        FileKeyStore(tmp_path / "keys", master_key=master).keyset("acme")


def test_wrapped_keys_cannot_be_swapped_between_purposes(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "keys", master_key=MASTER)
    store.create("acme")
    document = json.loads(file_of(tmp_path).read_text())
    one, two = document["keys"]
    one["material"], two["material"] = two["material"], one["material"]
    file_of(tmp_path).write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="does not open"):
        store.keyset("acme")


def test_malformed_file_is_a_configuration_error_that_shows_no_material(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "keys")
    store.create("acme")
    document = json.loads(file_of(tmp_path).read_text())
    document["keys"][0]["material"] = "not base64!"
    file_of(tmp_path).write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"acme\.json: not a keyset \(1 errors\)\. Fix: restore") as caught:
        store.keyset("acme")
    assert "base64" not in str(caught.value)


def test_another_tenants_file_is_refused(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "keys")
    store.create("acme")
    file_of(tmp_path).rename(file_of(tmp_path, "evil"))
    with pytest.raises(ConfigError, match="keyset of another tenant"):
        store.keyset("evil")


def test_unknown_tenant_is_named(store: FileKeyStore) -> None:
    for use in (store.keyset, store.rotate, store.shred):
        with pytest.raises(UnknownName, match="tenant 'acme' has no keys"):
            use("acme")
    store.create("other")
    for use in (store.keyset, store.rotate, store.shred):
        with pytest.raises(UnknownName, match="tenant 'acme' has no keys"):
            use("acme")


@pytest.mark.parametrize(
    "tenant", ["", ".", "..", "../acme", "a/b", "/etc/passwd", "a\x00b", "-a", "a|b", "é", "a" * 129]
)
def test_no_tenant_id_leads_out_of_the_folder(store: FileKeyStore, tenant: str) -> None:
    for use in (store.keyset, store.create, store.rotate, store.shred):
        with pytest.raises(BadInput, match="tenant id"):
            use(tenant)


def test_full_disk_changes_nothing(store: FileKeyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.create("acme")

    def no_space(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        for use in (store.rotate, store.shred):
            with pytest.raises(StorageUnavailable, match="No space left"):
                use("acme")
    assert second(store, tmp_path).keyset("acme") == kept
    store.shred("acme")
    assert [f.name for f in (tmp_path / "keys").iterdir()] == ["acme.json"]


def test_unreachable_folder_is_retryable(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file where the folder should be")
    store = FileKeyStore(tmp_path / "keys")
    for use in (store.keyset, store.create, store.rotate, store.shred):
        with pytest.raises(StorageUnavailable):
            use("acme")


def test_changes_at_the_same_time_lose_no_key(store: FileKeyStore, tmp_path: Path) -> None:
    stores = [store, second(store, tmp_path)] * 4
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda s: s.create("acme"), stores))
        rotated = list(pool.map(lambda s: s.rotate("acme"), stores))
        assert all(keyset == created[0] for keyset in created)
        final = store.keyset("acme")
        assert len(final.keys) == 2 + len(stores)
        assert {k.primary.id for k in rotated} == {k.id for k in final.keys[2:]}


def test_material_is_never_shown(store: FileKeyStore) -> None:
    keyset = store.create("acme")
    shown = f"{keyset!r} {keyset} {keyset.primary!r} {vars(store)}"
    for key in keyset.keys:
        assert str(key.material) not in shown
        assert key.material.hex() not in shown


def test_keyset_without_an_enabled_key_says_what_to_do() -> None:
    destroyed = Key(1, Purpose.AEAD, KeyStatus.DESTROYED, 0, b"")
    with pytest.raises(LifecycleError, match=r"no aead key in use; rotate\(\) makes one"):
        _ = Keyset("acme", (destroyed,)).primary


@pytest.mark.parametrize("text", [MASTER.hex(), MASTER.hex().upper(), base64.b64encode(MASTER).decode() + "\n"])
def test_master_key_is_read_from_hexadecimal_or_base64(text: str) -> None:
    assert parse_master_key(text) == MASTER


@pytest.mark.parametrize("text", ["", "hunter2", "g" * 64, MASTER.hex()[:-2], base64.b64encode(bytes(31)).decode()])
def test_anything_else_is_no_master_key_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match=r"COLLECTORS_KEY: .*Fix: make one with: openssl rand") as caught:
        parse_master_key(text, where="COLLECTORS_KEY")
    assert not text or text not in str(caught.value)
