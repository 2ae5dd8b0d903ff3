"""Worker processes end with the process that began them, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

__all__ = ["end_with"]

SECONDS = 0.5
"""Time between two looks at the parent, where the system does not tell."""

PR_SET_PDEATHSIG = 1
"""Linux sends the signal once the parent has ended (prctl(2)), also while this process computes or imports."""


def end_with(parent: int) -> None:
    """Ends this process once its parent has ended; called in a worker before anything is computed.

    Arguments:
        parent: The process that began this one; it may have ended while this one was starting.
    """
    if not _ends_with_parent():
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the signal was asked for
        _end()


def _ends_with_parent() -> bool:
    """Asks the system for a signal at the end of the parent; returns whether it will come."""
    if sys.platform != "linux":
        return False
    try:
        return ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0  # type: ignore[no-any-return]
    except (OSError, AttributeError):
        return False


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    _end()


def _end() -> None:
    # As the parent was: an exit would wait for computations and for queues that nobody reads.
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
