"""The audit log: who did what, when and from where; fwdcapd is its only writer.

One JSON object a line in `audit.jsonl` of the store, readable for the web. When
it has grown to `MAX_BYTES` it becomes `audit.jsonl.1` and a new one begins, so
that it never fills a disk. What cannot be written is said in the daemon's log:
a full disk must not keep anybody from stopping a capture.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fwdcap.capture.accounts import Account

FILE = "audit.jsonl"
MODE = 0o640
MAX_BYTES = 8 << 20
MAX_ROWS = 10_000
DONE = "done"
_LONGEST = 256
_KEYS = frozenset({"time_ns", "who", "from", "what", "target", "result"})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """`who` did `what` to `target`, asking `from_`; `result` is "done" or a refusal's code."""

    who: str
    from_: str
    what: str
    target: str = ""
    result: str = DONE


class Audit:
    """The log of one store."""

    def __init__(
        self,
        store: Path,
        web: Account,
        *,
        utc_ns: Callable[[], int] = time.time_ns,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._path = store / FILE
        self._web = web
        self._utc_ns = utc_ns
        self._max_bytes = max_bytes
        self._alone = threading.Lock()

    def add(self, event: Event) -> None:
        """Append it. Never raises for what the disk refuses."""
        fields = {key: text[:_LONGEST] for key, text in asdict(event).items()}
        row = {"time_ns": self._utc_ns(), "who": fields["who"], "from": fields["from_"]}
        row |= {key: fields[key] for key in ("what", "target", "result")}
        line = json.dumps(row).encode() + b"\n"
        try:
            with self._alone:
                self._append(line)
        except OSError as error:
            log.error("the audit log cannot be written: %s: %s", error.strerror, row)

    def last(self, count: int) -> list[dict[str, Any]]:
        """The latest `count` rows, the newest first; what is no row is left out."""
        found: list[dict[str, Any]] = []
        for path in (self._path, self._older):
            for line in reversed(_lines(path)):
                if len(found) >= min(count, MAX_ROWS):
                    return found
                found.extend(_row(line))
        return found

    @property
    def _older(self) -> Path:
        return self._path.with_name(f"{FILE}.1")

    def _append(self, line: bytes) -> None:
        if self._size() + len(line) > self._max_bytes and self._path.exists():
            self._path.rename(self._older)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, MODE)
        try:
            size = os.fstat(fd).st_size
            if not size:
                os.fchmod(fd, MODE)
                if self._web.switch:
                    os.fchown(fd, 0, self._web.gid)
            elif os.pread(fd, 1, size - 1) != b"\n":  # torn by a power cut
                line = b"\n" + line
            os.write(fd, line)
        finally:
            os.close(fd)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError:
        return []


def _row(line: bytes) -> Iterator[dict[str, Any]]:
    try:
        row = json.loads(line)
    except ValueError:
        return
    if isinstance(row, dict) and row.keys() >= _KEYS:
        yield row
