"""Worker processes end with the process that began them, however that ends."""

from __future__ import annotations

import os
import signal
import threading
import time

__all__ = ["end_with"]

SECONDS = 0.5
"""Time between two looks at the parent."""


def end_with(parent: int) -> None:
    """Ends this process once its parent has ended; called in a worker before anything is computed.

    Linux can send a signal then (``PR_SET_PDEATHSIG``), but sends it already once the parent's thread ends that began
    this process: workers serve later calls from other threads, too.

    Arguments:
        parent: The process that began this one; it may have ended while this one was starting.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    # As the parent was: an exit would wait for computations and for queues that nobody reads.
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
