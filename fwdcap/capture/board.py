"""What workers beside the daemon's tick have to say: notices that stay, lines that pass."""

from __future__ import annotations

import threading
from collections import deque

from fwdcap.capture.notice import Notice


class Board:
    """Written by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notices: dict[str, Notice] = {}
        self._lines: deque[str] = deque(maxlen=1000)

    def say(self, code: str, message: str, hint: str = "") -> None:
        """Show that until it is withdrawn; a line says so once."""
        with self._lock:
            if code not in self._notices:
                self._lines.append(message)
            self._notices[code] = Notice(code, message, hint)

    def withdraw(self, code: str) -> None:
        """It is no longer so."""
        with self._lock:
            self._notices.pop(code, None)

    def line(self, text: str) -> None:
        """Something happened."""
        with self._lock:
            self._lines.append(text)

    def notices(self) -> tuple[Notice, ...]:
        with self._lock:
            return tuple(self._notices.values())

    def take_lines(self) -> list[str]:
        """The lines since the last time."""
        with self._lock:
            lines = list(self._lines)
            self._lines.clear()
        return lines
