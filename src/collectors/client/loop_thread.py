"""An event loop in a thread of its own, that still works while the interpreter shuts down."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from collectors.errors import LifecycleError

LAST_WORDS_SECONDS = 1.0

_T = TypeVar("_T")


class _Executor(ThreadPoolExecutor):
    """Does work itself once no thread may be started any more, as in ``atexit``: then the loop may block."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:
            future: Future[_T] = Future()
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:  # noqa: BLE001  it belongs to whoever waits for the future
                future.set_exception(error)
            return future


class LoopThread:
    """A daemon thread that runs an event loop until ``stop``."""

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self._stopping = False
        self._loop = asyncio.new_event_loop()
        self._executor = _Executor(max_workers=2, thread_name_prefix=name)
        self._loop.set_default_executor(self._executor)
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Run ``work`` on the loop and return its result; TimeoutError after ``timeout`` seconds."""
        if threading.current_thread() is self._thread:
            work.close()
            raise LifecycleError("this call waits for the client's own thread; do not make it from on_error")
        with self._lock:
            if self._stopping:
                work.close()
                raise LifecycleError("the client is closed; make a new one")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout)

    def stop(self) -> None:
        """End the loop and the thread, once whatever else runs on the loop has had a chance to end."""
        with self._lock:
            self._stopping = True
        asyncio.run_coroutine_threadsafe(_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._executor.shutdown()
        self._loop.close()


async def _others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=LAST_WORDS_SECONDS)
