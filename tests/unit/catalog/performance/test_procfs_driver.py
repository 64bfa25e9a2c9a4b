"""The driver of kernel files: what is absent, refused or broken, and filesystems that never answer."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from collectors.drivers.procfs import Procfs, Space
from collectors.errors import SourceRefused, SourceUnavailable

ROOM = SimpleNamespace(f_frsize=512, f_blocks=10, f_bfree=6, f_bavail=5, f_files=3, f_ffree=1)


def procfs(root: Path, **options: object) -> Procfs:
    return Procfs(str(root / "proc"), str(root / "sys"), str(root / "cgroup"), **options)  # type: ignore[arg-type]


def threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name == "procfs"}


def test_texts_come_from_the_injected_roots(tmp_path):
    for root in ("proc", "sys", "cgroup"):
        (tmp_path / root).mkdir()
        (tmp_path / root / "name").write_text(root)
    files = procfs(tmp_path)
    assert (files.proc("name"), files.sys("name"), files.cgroup("name")) == ("proc", "sys", "cgroup")


def test_files_larger_than_one_read_are_whole_and_bad_bytes_replaced(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/large").write_bytes(b"x" * 200_000 + b"\xff")
    assert procfs(tmp_path).proc("large") == "x" * 200_000 + "\N{REPLACEMENT CHARACTER}"


def test_what_is_not_there_is_none(tmp_path):
    (tmp_path / "proc/directory").mkdir(parents=True)
    files = procfs(tmp_path)
    assert files.proc("missing") is None
    assert files.proc("directory") is None
    assert files.proc("missing/below") is None


@pytest.mark.parametrize(
    ("number", "raised"),
    [(errno.EACCES, SourceRefused), (errno.EPERM, SourceRefused), (errno.EIO, SourceUnavailable)],
)
def test_failed_reads_raise_typed_errors_that_name_the_file(tmp_path, monkeypatch, number, raised):
    def fail(*_: object) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(raised, match=r"^net/dev: "):
        procfs(tmp_path).proc("net/dev")


def test_a_feature_that_is_switched_off_is_none_and_the_file_is_closed(tmp_path, monkeypatch):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/pressure").write_text("")
    closed = []
    close = os.close

    def fail(*_: object) -> bytes:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "read", fail)
    monkeypatch.setattr(os, "close", lambda file: closed.append(close(file)))
    assert procfs(tmp_path).proc("pressure") is None
    assert len(closed) == 1


def test_processes_are_the_directories_named_by_numbers_that_can_be_read(tmp_path, monkeypatch):
    for name in ("1", "20", "300", "4", "self", "sys"):
        (tmp_path / "proc" / name).mkdir(parents=True)
        (tmp_path / "proc" / name / "stat").write_text(name)
    (tmp_path / "proc/20/stat").unlink()  # ended meanwhile
    real = os.open

    def hide(path: str, flags: int) -> int:
        if path.endswith("300/stat"):
            raise PermissionError(errno.EPERM, "hidden")
        return real(path, flags)

    monkeypatch.setattr(os, "open", hide)
    assert sorted(procfs(tmp_path).processes()) == ["1", "4"]


def test_processes_of_no_host_are_an_unavailable_source(tmp_path):
    with pytest.raises(SourceUnavailable, match="the list of processes"):
        list(procfs(tmp_path).processes())


async def test_run_returns_the_result_or_raises_the_error_of_the_call(tmp_path):
    files = procfs(tmp_path)

    def fail() -> None:
        raise ValueError("broken")

    assert await files.run(lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(ValueError, match="broken"):
        await files.run(fail)
    await files.close()
    assert not threads()


async def test_close_waits_for_a_read_whose_caller_was_cancelled(tmp_path):
    files = procfs(tmp_path)
    started, proceed = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        proceed.wait()

    task = asyncio.ensure_future(files.run(slow))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(threads()) == 1
    proceed.set()
    await files.close()
    assert not threads()


def test_a_read_that_outlives_the_event_loop_ends_silently(tmp_path):
    proceed = threading.Event()

    async def abandon() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(procfs(tmp_path).run(proceed.wait), 0.01)

    asyncio.run(abandon())
    (left,) = threads()
    proceed.set()
    left.join()  # an exception in it would fail this test


async def test_room_is_computed_from_blocks(tmp_path):
    files = procfs(tmp_path, statvfs=lambda _: ROOM)
    assert await files.spaces(["/a"], 5.0) == {
        "/a": Space(used=2048, free=2560, reserved=512, inodes_used=2, inodes_free=1)
    }
    assert await files.spaces([], 5.0) == {}


async def test_a_dead_mount_is_given_up_at_the_deadline_and_not_asked_again_until_it_answers(tmp_path):
    alive = threading.Event()
    asked: list[str] = []

    def statvfs(path: str) -> SimpleNamespace:
        asked.append(path)
        if path == "/nfs":
            alive.wait()
        return ROOM

    files = procfs(tmp_path, statvfs=statvfs)
    first = await files.spaces(["/nfs", "/"], 0.01)
    second = await files.spaces(["/nfs", "/"], 0.01)

    assert isinstance(first["/"], Space)
    assert isinstance(second["/"], Space)
    assert "did not answer within 0.01 s" in str(first["/nfs"])
    assert "still not answered" in str(second["/nfs"])
    assert asked.count("/nfs") == 1
    assert [t.daemon for t in threads()] == [True]
    await files.close()  # does not wait for it

    alive.set()
    for thread in threads():
        thread.join()
    assert isinstance((await files.spaces(["/nfs"], 5.0))["/nfs"], Space)


async def test_a_filesystem_that_fails_answers_with_a_typed_error(tmp_path):
    def statvfs(path: str) -> SimpleNamespace:
        raise OSError(errno.EACCES if path == "/private" else errno.ESTALE, "no")

    answers = await procfs(tmp_path, statvfs=statvfs).spaces(["/private", "/stale"], 5.0)
    assert isinstance(answers["/private"], SourceRefused)
    assert isinstance(answers["/stale"], SourceUnavailable)


def test_the_real_kernel_is_the_default():
    files = Procfs()
    assert (files.proc("uptime") or "").count(" ") == 1
    assert files.ticks_per_second == os.sysconf("SC_CLK_TCK")
    assert files.page_size == os.sysconf("SC_PAGE_SIZE")
    assert files.roots["cgroup"] == "/sys/fs/cgroup"
