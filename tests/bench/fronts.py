"""What downloads are compared with: nginx's own static file, in clear and over TLS.

And nginx before our pages, exactly as `fwdcap run` sets it up.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from fwdcap import config
from fwdcap.capture.accounts import lookup
from fwdcap.control.front import Front
from fwdcap.tls import certificate

_TLS = "ssl_certificate {at}/certificate.pem; ssl_certificate_key {at}/key.pem;"


def program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


@contextlib.contextmanager
def static(directory: Path, tls: bool) -> Iterator[str]:
    """nginx with sendfile over the files of `directory`: the URL of its root."""
    at = directory / ("static-tls" if tls else "static")
    at.mkdir()
    port = free_port()
    if tls:
        pair = certificate.make(["localhost"], datetime.now(UTC))
        certificate.write(at / "certificate.pem", pair.certificate)
        certificate.write(at / "key.pem", pair.key)
    (at / "nginx.conf").write_text(
        f"user root; daemon off; pid {at}/nginx.pid; error_log {at}/nginx.log;\n"
        "events {} http { access_log off; sendfile on;\n"
        f"{_TLS.format(at=at) if tls else ''}\n"
        f"server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''}; root {directory}; }} }}\n"
    )
    nginx = program()
    assert nginx is not None
    process = subprocess.Popen([nginx, "-c", str(at / "nginx.conf"), "-p", str(at)])
    try:
        wait_until(lambda: answers(port))
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def before_pages(store: Path) -> Iterator[tuple[socket.socket, int]]:
    """nginx as `fwdcap run` has it: the socket for the pages, and the port of https."""
    given = {"store.path": str(store), "control.socket": str(store / "front.sock")}
    settings = config.load(None, {**given, "web.tls": "on"})
    account = lookup(settings.users.web, settings.users.recorder).web
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        front = Front(settings, account, listening)
        try:
            pages = front.prepare()
            front.start(time.monotonic())
            yield pages, listening.getsockname()[1]
        finally:
            front.stop()


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return not asking.connect_ex(("127.0.0.1", port))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)
