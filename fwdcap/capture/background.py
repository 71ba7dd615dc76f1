"""Threads of the daemon for work on disks that may take its time.

A worker does one thing whenever it is poked, never twice at once, and outlives
whatever goes wrong in it: the daemon's tick pokes and never waits.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # ioprio_set(2)
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13
_NICE = 10


class Worker:
    """A thread that calls `work` after each poke; `idle`: at the lowest priorities."""

    def __init__(self, name: str, work: Callable[[], None], *, idle: bool = False) -> None:
        self._work = work
        self._idle = idle
        self._poked = threading.Event()
        self._stopping = False
        self._busy_since_s = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def poke(self) -> None:
        """Have the work done, once more if it is being done now."""
        self._poked.set()

    @property
    def stopping(self) -> bool:
        """Long work looks at this from time to time."""
        return self._stopping

    def busy_s(self) -> float:
        """For how long the work under way has been."""
        since_s = self._busy_since_s
        return time.monotonic() - since_s if since_s else 0.0

    def stop(self, patience_s: float) -> None:
        """Have it end; what is stuck in a disk for longer ends with the process."""
        self._stopping = True
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def _run(self) -> None:
        if self._idle:
            step_back()
        while True:
            self._poked.wait()
            self._poked.clear()
            if self._stopping:
                return
            self._busy_since_s = time.monotonic()
            try:
                self._work()
            except Exception:
                log.exception("%s failed", self._thread.name)
            self._busy_since_s = 0.0


def step_back() -> None:
    """Give the calling thread idle disk priority and little of the processor."""
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class Throttle:
    """Keeps work to a rate: call it with what has been done."""

    def __init__(
        self,
        bytes_per_s: float,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = bytes_per_s
        self._clock = monotonic_s
        self._sleep = sleep
        self._due_s = 0.0

    def __call__(self, done_bytes: int) -> None:
        now_s = self._clock()
        self._due_s = max(self._due_s, now_s) + done_bytes / self._rate
        if self._due_s > now_s:
            self._sleep(self._due_s - now_s)
