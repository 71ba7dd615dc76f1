"""The control API: the service's verbs over HTTP on a unix socket.

Who asks is known from the socket itself (SO_PEERCRED), not from anything that
was sent: root and the daemon's own user may do everything, the web pages' user
only what pages need, anybody else is turned away before a byte is read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import UnixWSGIServer
from waitress.task import ThreadedTaskDispatcher
from werkzeug.exceptions import HTTPException

from fwdcap.control import given, whoasks
from fwdcap.control.service import Service
from fwdcap.errors import Forbidden, FwdcapError, Invalid, Unavailable

log = logging.getLogger(__name__)

_PEER = "uid="
_WEB_MAY = frozenset(
    {
        ("GET", "/status"),
        ("GET", "/captures"),
        ("GET", "/routes"),
        ("GET", "/datapath"),
        ("GET", "/interfaces"),
        ("POST", "/datapath/attach"),
        ("POST", "/datapath/detach"),
        ("POST", "/capture"),
        ("DELETE", "/capture"),
        ("POST", "/capture/roll"),
        ("GET", "/schedule"),
        ("PUT", "/schedule"),
        ("DELETE", "/streams/<stream>"),
    }
)
_SIZES = ("snaplen", "max_bytes", "max_packets", "max_seconds")
_THREADS = 4
_CLOSE_S = 2.0
_MAX_BODY_BYTES = 65536


def create_app(service: Service, web_uid: int) -> Flask:
    """The verbs as a WSGI application; REMOTE_ADDR says `uid=<peer>`."""
    app = Flask("fwdcapd", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES

    @app.before_request
    def admit() -> None:
        uid = _uid(request.remote_addr or "")
        if uid in (0, os.geteuid()):
            return
        rule = request.url_rule.rule if request.url_rule else ""
        asked = (request.method, rule)
        if uid != web_uid or not (asked in _WEB_MAY or asked in whoasks.WEB_MAY):
            raise Forbidden(
                f"User {uid} may not ask the daemon for this.",
                code="not-permitted",
                hint="Run the command as root.",
            )

    def offer(method: str, path: str, verb: Callable[[], Any]) -> None:
        app.add_url_rule(path, f"{method} {path}", lambda: jsonify(verb()), methods=[method])

    offer("GET", "/status", service.status)
    offer("GET", "/captures", service.captures)
    offer("GET", "/routes", service.routes)
    offer("GET", "/datapath", service.datapath)
    offer("GET", "/doctor", service.doctor)
    offer("GET", "/store", service.store)
    offer("POST", "/capture", lambda: service.capture_start(given.text("name"), **_numbers(_SIZES)))
    offer("DELETE", "/capture", service.capture_stop)
    offer("POST", "/capture/roll", service.capture_roll)
    offer("GET", "/schedule", service.schedule)
    offer("PUT", "/schedule", lambda: service.schedule_put(_rows(), _number("revision")))
    app.add_url_rule(
        "/streams/<stream>",
        "DELETE /streams",
        lambda stream: jsonify(service.stream_delete(stream)),
        methods=["DELETE"],
    )
    offer("POST", "/datapath/attach", lambda: service.datapath_attach(given.text("interface")))
    offer("POST", "/datapath/detach", lambda: service.datapath_detach(_detached(web_uid)))
    offer("GET", "/interfaces", service.interfaces)

    def is_web() -> bool:
        return _uid(request.remote_addr or "") == web_uid

    whoasks.install(app, service.access, is_web)

    @app.errorhandler(FwdcapError)
    def refused(error: FwdcapError) -> ResponseReturnValue:
        return jsonify(error=error.to_dict()), error.http_status

    @app.errorhandler(HTTPException)
    def wrong(error: HTTPException) -> ResponseReturnValue:
        refusal = Invalid(f"{error.name}.", code="bad-request")
        return jsonify(error=refusal.to_dict()), error.code or 500

    @app.errorhandler(Exception)
    def broken(error: Exception) -> ResponseReturnValue:
        log.exception("%s %s failed", request.method, request.path)
        failure = FwdcapError(
            f"The daemon could not do that: {type(error).__name__}.",
            code="internal",
            hint="Its log has the details.",
        )
        return jsonify(error=failure.to_dict()), failure.http_status

    return app


def _uid(address: str) -> int:
    """Who asks, as `_Server.accept` noted it; -1 for nobody we know."""
    text = address.removeprefix(_PEER)
    return int(text) if text != address and text.isdigit() else -1


def _detached(web_uid: int) -> str | None:
    """The interface to let go: the web, which asks for others, must name it."""
    body = request.get_json(silent=True)
    named = isinstance(body, dict) and "interface" in body
    return given.text("interface") if named or _uid(request.remote_addr or "") == web_uid else None


def _numbers(keys: Iterable[str]) -> dict[str, int | None]:
    return {key: _number(key) for key in keys}


def _rows() -> object:
    if "rows" in given.body():
        return given.body()["rows"]
    raise Invalid("rows are missing.", code="bad-request", hint="Send rows, the whole list.")


def _number(key: str) -> int | None:
    value = given.body().get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise Invalid(f"{key} is not an integer.", code="bad-request", hint=f"Send {key} as a number.")


class _Server(UnixWSGIServer):  # type: ignore[misc]
    """waitress on a unix socket, which asks the kernel who connects."""

    def __init__(self, app: Flask, path: Path, web_uid: int, web_gid: int) -> None:
        self._admitted = {0, os.geteuid(), web_uid}
        self._web_gid = web_gid
        settings = Adjustments(unix_socket=str(path), threads=_THREADS, ident=None)
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(settings.threads)
        try:
            super().__init__(app, map={}, dispatcher=dispatcher, adj=settings)
        except OSError:
            dispatcher.shutdown()  # its threads would keep the process from ending
            raise

    def bind_server_socket(self) -> None:
        """Bind so that nobody can connect before owner and mode are right."""
        path = self.adj.unix_socket
        mask = os.umask(0o177)
        try:
            self.bind(path)
        finally:
            os.umask(mask)
        if os.geteuid() == 0:
            os.chown(path, 0, self._web_gid)
        os.chmod(path, 0o660)

    def accept(self) -> tuple[socket.socket, tuple[str, int]] | None:
        accepted = super().accept()
        if accepted is None:
            return None
        connection: socket.socket = accepted[0]
        pid, uid = peer(connection)
        if uid in self._admitted:
            return connection, (f"{_PEER}{uid}", pid)
        log.warning("user %d (process %d) was turned away", uid, pid)
        _turn_away(connection, uid)
        return None

    def fix_addr(self, addr: tuple[str, int]) -> tuple[str, int]:
        return addr


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _ = struct.unpack("3i", raw)
    return pid, uid


def _turn_away(connection: socket.socket, uid: int) -> None:
    refusal = Forbidden(
        f"User {uid} may not use the control socket.",
        code="control-not-permitted",
        hint="Run the command as root.",
    )
    body = json.dumps({"error": refusal.to_dict()}).encode()
    head = (
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with connection:
        try:
            connection.setblocking(False)
            connection.send(head.encode() + body)
        except OSError:
            return  # it has gone already


class ControlServer:
    """The served socket: its life is that of a thread."""

    def __init__(self, service: Service, path: Path) -> None:
        """Raises Unavailable when the socket cannot be made."""
        self._path = path
        web = service.accounts.web
        app = create_app(service, web.uid)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            self._server = _Server(app, path, web.uid, web.gid)
        except OSError as error:
            raise Unavailable(
                f"The control socket {path} cannot be made: {error.strerror or error}.",
                code="control-socket",
                hint="Choose another place with --control.",
            ) from error
        self._thread = threading.Thread(target=self._server.run, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more, and remove the socket."""
        server = self._server
        if not server._map:
            return  # closed already
        with contextlib.suppress(OSError):  # woken by something else, it may be done already
            server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map, True))
        self._thread.join(_CLOSE_S)
        server.task_dispatcher.shutdown(timeout=_CLOSE_S)
        self._path.unlink(missing_ok=True)
