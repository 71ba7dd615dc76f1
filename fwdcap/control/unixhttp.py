"""HTTP over a unix socket, with one connection kept open for each thread.

The status is asked for hundreds of times a second, and a connection made anew
for each question cost more than the answer. A kept one may have been closed by
the other side meanwhile (a daemon that was restarted): what only reads is then
asked once more on a new one; what changes something never uses a kept one,
since nobody could tell whether it was done.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import local
from typing import Any

CONNECT_TIMEOUT_S = 2.0


class NotConnected(OSError):
    """Nobody answers on the socket, or it may not be used: `__cause__` says why."""


@dataclass(frozen=True)
class Answer:
    """The status code and the decoded JSON body; an empty one where there was none."""

    status: int
    body: dict[str, Any]


class UnixHttp:
    """Requests to the server on one unix socket; may be used from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = local()

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Raises NotConnected, TimeoutError, OSError or HTTPException."""
        reads = method == "GET"
        kept = self._take() if reads else None
        if kept is not None:
            try:
                return self._exchange(kept, method, path, body, timeout_s, headers)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                pass  # closed by the other side; once more
        fresh = _Connection(self._path)
        try:
            fresh.connect()
        except OSError as error:
            fresh.close()
            raise NotConnected(*error.args) from error
        return self._exchange(fresh, method, path, body, timeout_s, headers)

    def _exchange(
        self,
        connection: _Connection,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout_s: float,
        headers: Mapping[str, str] | None,
    ) -> Answer:
        sent = dict(headers or {})
        text = None
        if body is not None:
            text = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            connection.sock.settimeout(timeout_s)
            with contextlib.suppress(BrokenPipeError):  # it may have said why before it closed
                connection.request(method, path, text, sent)
            answer = connection.getresponse()
            raw = answer.read()
        except BaseException:
            connection.close()
            raise
        if method == "GET" and not answer.will_close:
            self._kept.connection = connection
        else:
            connection.close()
        return Answer(answer.status, _decoded(raw))

    def _take(self) -> _Connection | None:
        connection: _Connection | None = getattr(self._kept, "connection", None)
        self._kept.connection = None
        return connection


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("fwdcapd")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        self.sock.connect(str(self._path))


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
