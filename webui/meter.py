"""Counts what this process serves: requests, and downloads from first byte to last.

A plain download is sent by the server's own loop, so what was sent is known
only from how the server moves in the file: it reads ahead and goes back, then
steps on by what the socket has taken. Numbers begin at 0 with the process.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from fwdcap.store.download import Ranges

Kind = Literal["plain", "filtered"]
KINDS: tuple[Kind, ...] = ("plain", "filtered")


@dataclass(frozen=True)
class Seen:
    """Downloads of one kind: `broken` ended before their last byte."""

    running: int = 0
    whole: int = 0
    broken: int = 0
    sent_bytes: int = 0


class Ticket:
    """A download that runs."""

    def __init__(self, meter: Meter, kind: Kind) -> None:
        self._meter = meter
        self.kind: Kind = kind
        self.sent_bytes = 0

    def reach(self, sent_bytes: int) -> None:
        """So many bytes are sent in all."""
        self.sent_bytes = max(self.sent_bytes, sent_bytes)

    def end(self, whole: bool) -> None:
        """It is over; said twice it counts once."""
        self._meter.end(self, whole)


class Meter:
    """The counters of one application."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[Ticket] = set()
        self._ended: Counter[tuple[Kind, bool]] = Counter()
        self._ended_bytes: Counter[Kind] = Counter()
        self._requests: Counter[tuple[str, int]] = Counter()

    def begin(self, kind: Kind) -> Ticket:
        """A download begins."""
        ticket = Ticket(self, kind)
        with self._lock:
            self._running.add(ticket)
        return ticket

    def end(self, ticket: Ticket, whole: bool) -> None:
        """What `Ticket.end` says."""
        with self._lock:
            if ticket not in self._running:
                return
            self._running.remove(ticket)
            self._ended[ticket.kind, whole] += 1
            self._ended_bytes[ticket.kind] += ticket.sent_bytes

    def request(self, family: str, status: int) -> None:
        """A request was answered."""
        with self._lock:
            self._requests[family, status] += 1

    def requests(self) -> Mapping[tuple[str, int], int]:
        """Answers by family and status."""
        with self._lock:
            return dict(self._requests)

    def downloads(self, kind: Kind) -> Seen:
        """Downloads of that kind until now."""
        with self._lock:
            running = [ticket for ticket in self._running if ticket.kind == kind]
            sent_bytes = sum(ticket.sent_bytes for ticket in running)
            return Seen(
                running=len(running),
                whole=self._ended[kind, True],
                broken=self._ended[kind, False],
                sent_bytes=self._ended_bytes[kind] + sent_bytes,
            )


class Watched:
    """A file of a download, which notes how far it was sent; closing it ends the download."""

    def __init__(self, file: Ranges, ticket: Ticket) -> None:
        self._file = file
        self._ticket = ticket

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = self._file.seek(offset, whence)
        if whence == os.SEEK_CUR:
            self._ticket.reach(at)
        return at

    def send(self, out: int, most: int) -> int:
        """As `Ranges.send`."""
        sent = self._file.send(out, most)
        self._ticket.reach(self._file.tell())
        return sent

    def close(self) -> None:
        self._ticket.reach(self._file.tell())
        self._ticket.end(self._ticket.sent_bytes == self._file.length)
        self._file.close()
