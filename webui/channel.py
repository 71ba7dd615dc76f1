"""waitress's connections, made fair.

One thread of waitress writes for all connections, and writes to one for as long
as its client takes bytes. A fast client of a large download, its file not in
memory, would keep everybody else waiting until it has all of it. Here every
connection gives way after `TURN_BYTES`, and reads no more than `STEP_BYTES` at a
time, so that an answer waits for some megabytes and never for a file.
"""

from __future__ import annotations

import socket
from typing import Any

from waitress.channel import HTTPChannel

TURN_BYTES = 1 << 20
STEP_BYTES = 256 << 10
# A client that takes nothing for so long is let go. Until then it may stop and go on.
PATIENCE_S = 600

_TCP = frozenset({socket.AF_INET, socket.AF_INET6})


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

    def send(self, data: bytes, do_close: bool = True) -> int:
        """As much as the socket takes; nothing once the turn is over."""
        if self._turn_bytes >= TURN_BYTES:
            return 0
        sent = int(super().send(data, do_close=do_close))
        self._turn_bytes += sent
        return sent
