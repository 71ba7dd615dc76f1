"""Requests over a unix socket: which connection they use, and what ends one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from fwdcap.control.unixhttp import NotConnected, UnixHttp

pytestmark = pytest.mark.unit

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"


class Server:
    """Answers each request with the number of its connection; lets go after `most` of them."""

    def __init__(self, path: Path, most: int) -> None:
        self.asked: list[tuple[int, str]] = []
        self._most = most
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connection = self._listener
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number, self._connection = number + 1, connection
            with connection:
                for _ in range(self._most):
                    head = connection.recv(65536)
                    if not head:
                        break
                    self.asked.append((number, head.decode().split(" HTTP")[0]))
                    connection.sendall(HEAD + b'{"on": %d}' % number)

    def close(self) -> None:
        for one in (self._listener, self._connection):
            with contextlib.suppress(OSError):  # closed already
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[int], Server]]:
    servers: list[Server] = []

    def start(most: int) -> Server:
        servers.append(Server(tmp_path / "s", most))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def get(http: UnixHttp) -> int:
    return int(http.ask("GET", "/status", None, 10).body["on"])


def test_questions_share_a_connection_and_changes_have_their_own(
    serve: Callable[[int], Server], tmp_path: Path
) -> None:
    server, http = serve(100), UnixHttp(tmp_path / "s")
    # Before the thread's connection is kept, else the server, which serves one, never sees it.
    assert http.ask("DELETE", "/capture", None, 10).body == {"on": 1}
    assert [get(http), get(http), get(http)] == [2, 2, 2]
    assert server.asked == [(1, "DELETE /capture"), *[(2, "GET /status")] * 3]


def test_one_that_was_closed_meanwhile_is_not_noticed(
    serve: Callable[[int], Server], tmp_path: Path
) -> None:
    server, http = serve(1), UnixHttp(tmp_path / "s")
    assert [get(http), get(http), get(http)] == [1, 2, 3]
    assert len(server.asked) == 3


def test_each_thread_has_its_own(serve: Callable[[int], Server], tmp_path: Path) -> None:
    serve(2)
    http, found = UnixHttp(tmp_path / "s"), list[int]()
    for _ in range(2):
        thread = Thread(target=lambda: found.extend([get(http), get(http)]))
        thread.start()
        thread.join(10)
    assert found == [1, 1, 2, 2]


def test_nobody_there_is_said_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(NotConnected) as raised:
        get(UnixHttp(tmp_path / "s"))
    assert isinstance(raised.value.__cause__, FileNotFoundError)


def test_what_was_said_before_it_closed_is_read(tmp_path: Path) -> None:
    """The control socket turns strangers away without having read what they ask."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b'HTTP/1.1 403 No\r\nContent-Length: 7\r\n\r\n{"a":1}')

        thread = Thread(target=refuse, daemon=True)
        thread.start()
        answer = UnixHttp(tmp_path / "s").ask("PUT", "/schedule", {"rows": ["x" * 400_000]}, 10)
        thread.join(10)
    assert (answer.status, answer.body) == (403, {"a": 1})
