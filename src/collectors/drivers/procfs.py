"""The only reader of ``/proc``, ``/sys`` and ``/sys/fs/cgroup``, and the only caller of ``statvfs``."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from collectors.errors import CollectorsError, SourceRefused, SourceUnavailable

T = TypeVar("T")

_ABSENT = frozenset({
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR,  # this kernel or container has no such file
    errno.ESRCH,  # the process ended between listing and reading
    errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV, errno.ENXIO,  # the file is there, the feature is off
})  # fmt: skip
_REFUSED = frozenset({errno.EACCES, errno.EPERM})
_CHUNK = 1 << 16


class StatVfs(Protocol):
    """What we read of ``os.statvfs_result``: blocks of ``f_frsize`` bytes, and inodes."""

    @property
    def f_frsize(self) -> int: ...
    @property
    def f_blocks(self) -> int: ...
    @property
    def f_bfree(self) -> int: ...
    @property
    def f_bavail(self) -> int: ...
    @property
    def f_files(self) -> int: ...
    @property
    def f_ffree(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Space:
    """Room on a filesystem: bytes used, free to users and reserved for root (they add up to its size), inodes."""

    used: int
    free: int
    reserved: int
    inodes_used: int
    inodes_free: int

    @classmethod
    def of(cls, stat: StatVfs) -> Space:
        """Convert what ``statvfs`` returned."""
        return cls(
            used=(stat.f_blocks - stat.f_bfree) * stat.f_frsize,
            free=stat.f_bavail * stat.f_frsize,
            reserved=(stat.f_bfree - stat.f_bavail) * stat.f_frsize,
            inodes_used=stat.f_files - stat.f_ffree,
            inodes_free=stat.f_ffree,
        )


@dataclass(eq=False, slots=True)
class _Call(Generic[T]):
    """A blocking call in a daemon thread of its own: an executor would wait for a stuck one at interpreter exit."""

    work: Callable[[], T]
    outcome: asyncio.Future[tuple[T | None, Exception | None]] = field(init=False)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.outcome = loop.create_future()
        self.thread = threading.Thread(target=self._run, args=(loop,), name="procfs", daemon=True)
        self.thread.start()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        result, failure = None, None
        try:
            result = self.work()
        except Exception as error:  # noqa: BLE001  # whatever it is, the one who waits must learn of it
            failure = error
        try:
            loop.call_soon_threadsafe(self.outcome.set_result, (result, failure))
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def result(self) -> T:
        """Return what ``work`` returned, or raise what it raised, once ``outcome`` is done."""
        self.thread.join()  # setting the outcome was its last act
        result, failure = self.outcome.result()
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]  # None only if T allows it


class Procfs:
    """Texts of kernel files under injected roots.

    A read returns None for what this kernel or container does not have, raises ``SourceRefused`` if a right is
    missing and ``SourceUnavailable`` if the kernel fails the read. Reads are synchronous and take microseconds;
    ``run`` moves a series of them off the event loop.
    """

    def __init__(
        self,
        proc: str = "/proc",
        sys: str = "/sys",
        cgroup: str = "/sys/fs/cgroup",
        *,
        statvfs: Callable[[str], StatVfs] = os.statvfs,
        ticks_per_second: int | None = None,
        page_size: int | None = None,
    ) -> None:
        self.roots: Mapping[str, str] = {"proc": proc, "sys": sys, "cgroup": cgroup}
        self.ticks_per_second = ticks_per_second or os.sysconf("SC_CLK_TCK")
        self.page_size = page_size or os.sysconf("SC_PAGE_SIZE")
        self._statvfs = statvfs
        self._reads: set[_Call[Any]] = set()
        self._asked: dict[str, _Call[Space]] = {}

    def proc(self, path: str) -> str | None:
        """Return the text of a file under ``/proc``."""
        return self._read("proc", path)

    def sys(self, path: str) -> str | None:
        """Return the text of a file under ``/sys``."""
        return self._read("sys", path)

    def cgroup(self, path: str) -> str | None:
        """Return the text of a file under ``/sys/fs/cgroup``."""
        return self._read("cgroup", path)

    def processes(self) -> Iterator[str]:
        """Yield ``/proc/<pid>/stat`` of every process that this one may see."""
        try:
            names = os.listdir(self.roots["proc"])  # noqa: PTH208  # a Path object a process is dear
        except OSError as error:
            raise _typed(error, "the list of processes") from error
        for name in names:
            if name.isdigit():
                try:
                    text = self._read("proc", f"{name}/stat")
                except SourceRefused:  # hidepid: other users' processes are none of ours
                    continue
                if text:
                    yield text

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking reads off the event loop; if cancelled they end by themselves, within milliseconds."""
        call = _Call(work)
        self._reads.add(call)
        call.outcome.add_done_callback(lambda _: self._reads.discard(call))
        await asyncio.wait([call.outcome])
        return call.result()

    async def spaces(self, mountpoints: Sequence[str], deadline_s: float) -> dict[str, Space | CollectorsError]:
        """Ask each filesystem for its room, all at once, for at most ``deadline_s`` seconds.

        A dead network mount holds ``statvfs`` in the kernel for ever. Its thread cannot be ended, so it is left
        behind and the mount is not asked again until it has answered: one lost thread a mount, not one a call.
        """
        self._asked = {path: call for path, call in self._asked.items() if not call.outcome.done()}
        answers: dict[str, Space | CollectorsError] = {}
        waiting: dict[str, _Call[Space]] = {}
        for mountpoint in mountpoints:
            if mountpoint in self._asked and self._asked[mountpoint].thread.is_alive():
                answers[mountpoint] = SourceUnavailable("the filesystem has still not answered an earlier statvfs")
            else:
                waiting[mountpoint] = self._asked[mountpoint] = _Call(partial(self._space, mountpoint))
        if waiting:
            await asyncio.wait([call.outcome for call in waiting.values()], timeout=deadline_s)
        for mountpoint, call in waiting.items():
            if not call.outcome.done():
                answers[mountpoint] = SourceUnavailable(f"statvfs did not answer within {deadline_s:g} s")
                continue
            try:
                answers[mountpoint] = call.result()
            except OSError as error:
                answers[mountpoint] = _typed(error, "statvfs")
        return answers

    async def close(self) -> None:
        """Wait for reads that a cancelled ``run`` left behind, so that no thread outlives its reader."""
        reads = tuple(self._reads)
        if reads:
            await asyncio.wait([call.outcome for call in reads], timeout=1.0)
        for call in (*reads, *self._asked.values()):
            if call.outcome.done():
                call.thread.join()

    def _space(self, mountpoint: str) -> Space:
        return Space.of(self._statvfs(mountpoint))

    def _read(self, root: str, path: str) -> str | None:
        try:
            file = os.open(f"{self.roots[root]}/{path}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                text = os.read(file, _CHUNK)
                # A file of records is cut at a record's end, so only an empty read says that it is over.
                while more := os.read(file, _CHUNK):
                    text += more
            finally:
                os.close(file)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _typed(error, path) from error
        return text.decode("utf-8", "replace")


def _typed(error: OSError, what: str) -> SourceRefused | SourceUnavailable:
    reason = os.strerror(error.errno or 0).lower()
    if error.errno in _REFUSED:
        return SourceRefused(f"{what}: {reason}; run as a user who may read it")
    return SourceUnavailable(f"{what}: {reason}")
