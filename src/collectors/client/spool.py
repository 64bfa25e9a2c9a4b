"""Batches on disk that wait for the server; they survive restarts and kill -9.

Any number of processes may share the folder:

    root/tenant/<lane>/<ticket><part>.<event type>.<rows>.<idempotency key>.arrow
    root/tenant/rejected/…

A lane is a folder that one client at a time owns, by an advisory lock on the folder itself which ends with the
process. A client writes to a lane of its own, and on opening adopts every lane that nobody owns. A file is one
request's body, an Arrow IPC stream; it appears under its name only when it is complete and durable. Files moved from
``rejected`` into any other folder beside it, such as ``again``, are sent by the next client that opens the spool.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from collectors.client.packing import Parcel
from collectors.clock import Clock
from collectors.errors import ConfigError, Overloaded, StorageUnavailable

REJECTED = "rejected"
_NAME = re.compile(r"([0-9]{16})([ab]*)\.([a-z0-9_]+)\.([1-9][0-9]*)\.([0-9a-f]{32})\.arrow")


@dataclass(frozen=True, slots=True)
class _Lane:
    """A folder and the descriptor that holds its lock."""

    folder: Path
    descriptor: int

    def release(self) -> None:
        """Give the lane up, and remove its folder if it is empty."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        os.close(self.descriptor)


class Spool:
    """The lanes that this client owns; together they hold at most ``max_bytes``.

    ``rejected`` has the same bound for itself. ``recovered`` is what earlier clients left behind, oldest first.
    Methods may be called from several threads.
    """

    def __init__(self, root: Path, tenant: str, max_bytes: int, clock: Clock) -> None:
        self._folder = root / tenant
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = 0
        try:
            root.mkdir(parents=True, exist_ok=True)
            for folder in (self._folder, self._folder / REJECTED):
                folder.mkdir(mode=0o700, exist_ok=True)  # events are nobody else's business
            self._rejected_bytes = sum(f.stat().st_size for f in (self._folder / REJECTED).iterdir())
            self._lanes = self._adopt()
            self.recovered = self._find()
            self._own = self._new_lane(clock.now_us())
            self._lanes.append(self._own)
        except OSError as error:
            raise ConfigError(
                f"the spool cannot be used: {error.strerror}",
                where=str(root),
                fix="name a folder on a local disk that this process may write to",
            ) from error

    def put(self, parcel: Parcel, beside: Parcel | None = None) -> Parcel:
        """Write a parcel of memory to disk and return it as one of disk; in the lane of ``beside`` if that is given.

        Raises Overloaded if the spool has no room for it, StorageUnavailable if the disk refuses.
        """
        body = parcel.body
        assert body is not None
        with self._lock:
            if self._bytes + parcel.size > self._max_bytes and beside is None:
                raise Overloaded(f"the spool is full ({self._max_bytes} bytes)")
            self._bytes += parcel.size
        try:
            folder = self._own.folder if beside is None or beside.path is None else beside.path.parent
            path = _write(folder, _name(parcel), body)
        except OSError as error:
            with self._lock:
                self._bytes -= parcel.size
            raise StorageUnavailable(f"the spool cannot be written: {error.strerror}") from error
        return replace(parcel, body=None, path=path)

    def remove(self, parcel: Parcel) -> None:
        """Forget a parcel of disk."""
        assert parcel.path is not None
        parcel.path.unlink(missing_ok=True)
        with self._lock:
            self._bytes -= parcel.size

    def set_aside(self, parcel: Parcel, body: bytes) -> Path | None:
        """Keep the events of a parcel that the server refused for good; None if ``rejected`` has no room or fails."""
        with self._lock:
            if self._rejected_bytes + len(body) > self._max_bytes:
                return None
            self._rejected_bytes += len(body)
        try:
            return _write(self._folder / REJECTED, _name(parcel), body)
        except OSError:
            return None

    def close(self) -> None:
        """Give up all lanes; what is left in them waits for the next client."""
        while self._lanes:
            self._lanes.pop().release()

    def forget(self) -> None:
        """Give up all lanes in a forked child, where they still belong to the parent."""
        while self._lanes:
            os.close(self._lanes.pop().descriptor)

    def _adopt(self) -> list[_Lane]:
        folders = sorted(f for f in self._folder.iterdir() if f.is_dir() and f.name != REJECTED)
        return [lane for folder in folders if (lane := _claim(folder)) is not None]

    def _find(self) -> list[Parcel]:
        """Return the batches in the adopted lanes, and remove what a dying client had not finished."""
        found: list[Parcel] = []
        for lane in self._lanes:
            for path in sorted(lane.folder.iterdir()):
                if path.suffix == ".tmp":
                    path.unlink()
                elif match := _NAME.fullmatch(path.name):
                    ticket, part, event_type, rows, key = match.groups()
                    size = path.stat().st_size
                    found.append(Parcel(int(ticket), part, event_type, int(rows), key, size, path=path))
        self._bytes += sum(parcel.size for parcel in found)
        return found

    def _new_lane(self, now_us: int) -> _Lane:
        while True:
            folder = self._folder / f"{now_us:020d}-{secrets.token_hex(4)}"
            folder.mkdir()
            lane = _claim(folder)
            if lane is not None:  # else another client adopted it in between
                return lane


def _name(parcel: Parcel) -> str:
    return f"{parcel.ticket:016d}{parcel.part}.{parcel.event_type}.{parcel.rows}.{parcel.key}.arrow"


def _write(folder: Path, name: str, body: bytes) -> Path:
    """Make ``body`` the content of the file ``name``, durably and all at once."""
    path = folder / name
    temporary = folder / f".{name}.tmp"
    with temporary.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


def _claim(folder: Path) -> _Lane | None:
    """Lock ``folder`` for this process; None if another client owns it, or removed it in the meantime."""
    descriptor = -1
    with contextlib.suppress(FileNotFoundError, BlockingIOError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.stat().st_ino == os.fstat(descriptor).st_ino:
            return _Lane(folder, descriptor)
    if descriptor >= 0:
        os.close(descriptor)
    return None
