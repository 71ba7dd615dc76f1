"""The cloud's metadata service, played on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

ID = "i-0123456789abcdef0"

Make = Callable[[Callable[[], HTTPServer]], HTTPServer]


class Service(BaseHTTPRequestHandler):
    """IMDSv2: a PUT gives a token that lives for as long as asked; a GET needs it."""

    said = ID
    asked: list[str] = []  # noqa: RUF012

    def do_PUT(self) -> None:
        self.asked.append("PUT")
        alive = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        right = self.path == "/latest/api/token" and alive
        self._answer(200 if right else 400, "the-token")

    def do_GET(self) -> None:
        self.asked.append("GET")
        if self.headers.get("X-aws-ec2-metadata-token") != "the-token":
            self._answer(401, "")
        elif self.said == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "/latest/meta-data/other")
            self.end_headers()
        else:
            self._answer(200 if self.path == "/latest/meta-data/instance-id" else 404, self.said)

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def cloud(said: str = ID, make: Make = lambda server: server()) -> Iterator[tuple[str, list[str]]]:
    """Its address, and what was asked of it; `make` may make its socket elsewhere."""
    asked: list[str] = []
    handler = type("Handler", (Service,), {"said": said, "asked": asked})
    with make(lambda: HTTPServer(("127.0.0.1", 0), handler)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
