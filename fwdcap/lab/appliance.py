"""The appliance of a lab: `fwdcap run` on host c, its page on your own loopback.

The daemon lives in the namespace, but a browser does not. So the listening
socket of the web page is opened here, outside, and handed down by inheritance
(`--listen fd:N`): a socket stays in the namespace in which it was made.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fwdcap.control.client import Client
from fwdcap.errors import FwdcapError, Unavailable
from fwdcap.lab.host import Host

USER = "fwdcap"
INTERFACE = "cap0"
MODES = ("ingress", "inline", "egress")
READY_S = 30.0
_STOP_S = 30.0
_PROBE_S = 2.0
_LOG_LINES = 15

# The daemon's own defaults suit a machine of its own; a lab shares this one.
_SETTINGS = {"ring.bytes": "67108864"}


@dataclass(frozen=True)
class Appliance:
    """A running `fwdcap run`, and where everything of it is."""

    process: subprocess.Popen[bytes]
    directory: Path
    port: int
    password: str
    user: str = USER

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def control(self) -> Path:
        return control_socket(self.directory)

    @property
    def store(self) -> Path:
        return self.directory / "store"

    @property
    def config(self) -> Path:
        return self.directory / "fwdcap.toml"

    @property
    def routes(self) -> Path:
        return self.directory / "routes.toml"

    @property
    def log(self) -> Path:
        return self.directory / "fwdcap.log"

    @property
    def client(self) -> Client:
        return Client(self.control)

    def log_tail(self) -> str:
        """The last lines of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:])

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Return when it forwards; raises Unavailable with the end of its log."""
        deadline = time.monotonic() + timeout_s
        while not self._healthy():
            ended = self.process.poll()
            if ended is not None:
                raise self._trouble(f"The appliance ended with exit code {ended}.")
            if time.monotonic() > deadline:
                raise self._trouble(f"The appliance did not forward within {timeout_s:.0f} s.")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = _STOP_S) -> int:
        """Signal the daemon and wait for its end; returns its exit code.

        SIGTERM leaves the data path and a running capture, SIGINT stops the
        capture first, SIGKILL is a crash. Raises TimeoutExpired.
        """
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout_s)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=_PROBE_S) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _trouble(self, sentence: str) -> Unavailable:
        return Unavailable(
            sentence,
            code="appliance-failed",
            hint=f"The end of {self.log}:\n{self.log_tail()}",
        )


def start(
    host: Host,
    directory: Path,
    *,
    xdp: str = "auto",
    modes: Iterable[str] = MODES,
    routes: str | None = None,
    settings: Mapping[str, str] | None = None,
    port: int = 0,
    password: str | None = "",
    wait: bool = True,
) -> Appliance:
    """Write its files into `directory` and start it on `host`.

    `routes` is the text of routes.toml, by default the one route `demo` with
    `modes`; `settings` are table.key → value as for --set; port 0 takes a free
    one; `password` is the first user's, by default a random one, None gives none;
    `wait` returns only when it forwards. A second start takes over what an
    ended daemon left. Raises Unavailable.
    """
    directory.chmod(0o755)  # the web process, which is not root, reads the store in it
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("FWDCAP_ADMIN_PASSWORD", None)
    if password is not None:
        password = password or secrets.token_urlsafe(9)
        environment["FWDCAP_ADMIN_PASSWORD"] = password
    (directory / "routes.toml").write_text(demo_route(modes) if routes is None else routes)
    (directory / "fwdcap.toml").write_text(_config(directory, xdp))
    with _listen(port) as listener:
        words = [sys.executable, "-m", "fwdcap", "run", "--config", f"{directory}/fwdcap.toml"]
        words += ["--listen", f"fd:{listener.fileno()}"]
        for key, value in {**_SETTINGS, **(settings or {})}.items():
            words += ["--set", f"{key}={value}"]
        with (directory / "fwdcap.log").open("ab") as log:
            process = host.popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
                start_new_session=True,
                env=environment,
            )
        appliance = Appliance(process, directory, listener.getsockname()[1], password or "")
    if wait:
        appliance.wait_ready()
    return appliance


def retire(directory: Path) -> None:
    """Ask a daemon that serves this directory to stop its capture and detach.

    Nothing happens when there is none: what it left is removed by other means.
    """
    client = Client(control_socket(directory))
    if not client.socket.exists():
        return
    with contextlib.suppress(FwdcapError):
        client.capture_stop()
    with contextlib.suppress(FwdcapError):
        client.datapath_detach()


def control_socket(directory: Path) -> Path:
    return directory / "control.sock"


def demo_route(modes: Iterable[str] = MODES) -> str:
    """routes.toml with the one route A → C → B."""
    return f"""\
[[route]]
name    = "demo"
client  = "10.77.0.10"
capture = "10.77.0.100"
server  = "10.77.0.20"
modes   = {json.dumps(list(modes))}
"""


def _config(directory: Path, xdp: str) -> str:
    return f"""\
[interface]
name = "{INTERFACE}"
xdp = "{xdp}"

[routes]
file = "routes.toml"

[store]
path = "{directory}/store"

[control]
socket = "{control_socket(directory)}"
"""


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=64)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise Unavailable(
            f"Port {port} of 127.0.0.1 is in use.",
            code="port-in-use",
            hint="Choose another one, or 0 for any.",
        ) from None
