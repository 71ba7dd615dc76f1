"""A process the daemon keeps: started, started again when it dies, stopped."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod

_BACK_OFF_S = (0, 1, 2, 5, 10, 30)
_STEADY_S = 60
_STOP_S = 3.0


class Child(ABC):
    """One process at a time; `launch` makes it, `name` begins the lines about it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._child: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._failures = 0
        self._retry_s = 0.0

    @abstractmethod
    def launch(self) -> subprocess.Popen[bytes]:
        """Make the process; raises OSError."""

    def start(self, now_s: float) -> None:
        """Call it from the main thread: the child dies with the thread that made it."""
        self._started_s = now_s
        self._child = self.launch()

    def tend(self, now_s: float) -> list[str]:
        """Every second: start it again when it has died; returns lines for the log."""
        if self._child is None:
            if now_s >= self._retry_s:
                self.start(now_s)
            return []
        code = self._child.poll()
        if code is None:
            return []
        self._child = None
        if now_s - self._started_s > _STEADY_S:
            self._failures = 0
        delay_s = _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]
        self._failures += 1
        self._retry_s = now_s + delay_s
        when = f"in {delay_s} s" if delay_s else "at once"
        return [f"{self._name} ended ({_cause(code)}) and is started again {when}."]

    def stop(self) -> None:
        """End it."""
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
