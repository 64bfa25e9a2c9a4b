"""Processes that must not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_INIT = 1


def end_with_parent() -> None:
    """Have the kernel send this process SIGTERM when the one that started it ends, even if that is killed."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent or parent == _INIT:  # it has ended before the kernel knew
        os.kill(os.getpid(), signal.SIGTERM)
