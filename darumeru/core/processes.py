"""Processes that must not outlive the one that started them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

SECONDS = 1.0


def end_with_parent() -> None:
    """In a process that multiprocessing spawned: end when the parent is gone, however it went and whatever is being
    done, and leave Ctrl-C, which a terminal sends to all of them, to the parent. Nothing in any other process."""
    # While the process is still being set up, multiprocessing.parent_process() does not know yet.
    if "--multiprocessing-fork" not in sys.orig_argv or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end_with_parent", daemon=True).start()
