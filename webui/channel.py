"""waitress's connections, made fair.

One thread of waitress writes for all connections, and writes to one for as long
as its client takes bytes. A fast client of a large download, its file not in
memory, would keep everybody else waiting until it has all of it. Here every
connection gives way after `TURN_BYTES`, and reads no more than `STEP_BYTES` at a
time, so that an answer waits for some megabytes and never for a file.

What is a file goes to its socket by sendfile(2): it is neither read nor copied here.
"""

from __future__ import annotations

import socket
import time
from typing import Any, Protocol, runtime_checkable

from waitress.channel import HTTPChannel

TURN_BYTES = 1 << 20
STEP_BYTES = 256 << 10
# A client that takes nothing for so long is let go. Until then it may stop and go on.
PATIENCE_S = 600

_TCP = frozenset({socket.AF_INET, socket.AF_INET6})


@runtime_checkable
class Sendable(Protocol):
    """A file that can go to a socket by itself, such as store.download.Ranges."""

    def send(self, out: int, most: int) -> int: ...


class FairChannel(HTTPChannel):  # type: ignore[misc]
    """A connection that takes turns with the others."""

    def __init__(self, server: Any, sock: socket.socket, *rest: Any, **more: Any) -> None:
        self._turn_bytes = 0
        if sock.family in _TCP:
            patience_ms = server.adj.channel_timeout * 1000
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms)
        super().__init__(server, sock, *rest, **more)
        self.sendbuf_len: int = min(self.sendbuf_len, STEP_BYTES)

    def handle_write(self) -> None:
        self._turn_bytes = 0
        super().handle_write()

    def write_soon(self, data: Any) -> int:
        self._turn_bytes = 0
        return int(super().write_soon(data))

    def _flush_some(self, do_close: bool = True) -> bool:
        buffer = self.outbufs[0]
        file = getattr(buffer, "file", None)
        if not isinstance(file, Sendable) or not buffer.remain:
            return bool(super()._flush_some(do_close))
        before = self._turn_bytes
        try:
            self._send_file(file, buffer)
        except BlockingIOError:
            pass
        except ConnectionError:
            if do_close:
                self.handle_close()
        if self.connected and not buffer.remain:
            super()._flush_some(do_close)  # closes it and goes on with what follows
        return self._turn_bytes > before

    def _send_file(self, file: Sendable, buffer: Any) -> None:
        """As much of the file as is left of the turn, or until the socket takes no more."""
        while buffer.remain and self._turn_bytes < TURN_BYTES:
            sent = file.send(self.socket.fileno(), min(buffer.remain, STEP_BYTES))
            buffer.remain -= sent
            self.total_outbufs_len -= sent
            self._turn_bytes += sent
            self.last_activity = time.time()

    def send(self, data: bytes, do_close: bool = True) -> int:
        """As much as the socket takes; nothing once the turn is over."""
        if self._turn_bytes >= TURN_BYTES:
            return 0
        sent = int(super().send(data, do_close=do_close))
        self._turn_bytes += sent
        return sent
