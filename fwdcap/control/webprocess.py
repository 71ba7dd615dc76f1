"""The web pages' process as the daemon keeps it: started, restarted, stopped.

The daemon opens the listening socket and hands it down, so the process needs no
right to bind, a port in use is refused before anything else happens, and
requests that come while it is restarted wait instead of failing.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fwdcap
from fwdcap.capture.accounts import Account
from fwdcap.errors import Invalid, Unavailable

_BACKLOG = 128
_BACK_OFF_S = (0, 1, 2, 5, 10, 30)
_STEADY_S = 60
_STOP_S = 3.0
_CODE = Path(fwdcap.__file__).resolve().parent.parent
_SECRETS = ("FWDCAP_ADMIN_PASSWORD",)


@dataclass(frozen=True)
class WebOrder:
    """What the web process is to serve, from where, and as whom."""

    store: Path
    control: Path
    zone: str
    account: Account
    module: str = "webui"


def listen(address: str) -> socket.socket:
    """The listening socket of `HOST:PORT`, or the inherited one of `fd:N`.

    Raises Invalid or Unavailable.
    """
    if address.startswith("fd:"):
        return _inherited(int(address[3:]))
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(address, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen(address, error) from error
    return listener


def url(listener: socket.socket) -> str:
    """Where a browser finds the pages."""
    name = listener.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    host, port = name[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class WebProcess:
    """One web process at a time, for as long as the daemon lives."""

    def __init__(self, order: WebOrder, listener: socket.socket) -> None:
        self._order = order
        self._listener = listener
        self._child: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._failures = 0
        self._retry_s = 0.0

    def start(self, now_s: float) -> None:
        """Call it from the main thread: the child dies with the thread that made it."""
        fd = self._listener.fileno()
        self._started_s = now_s
        self._child = subprocess.Popen(
            command(self._order, fd),
            stdin=subprocess.DEVNULL,
            env=environment(os.environ),
            pass_fds=(fd,),
            start_new_session=True,  # Ctrl-C is for the daemon, which ends it in order
        )

    def tend(self, now_s: float) -> list[str]:
        """Every second: start it again when it has died; returns lines for the log."""
        if self._child is None:
            if now_s >= self._retry_s:
                self.start(now_s)
            return []
        code = self._child.poll()
        if code is None:
            return []
        self._child = None
        if now_s - self._started_s > _STEADY_S:
            self._failures = 0
        delay_s = _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]
        self._failures += 1
        self._retry_s = now_s + delay_s
        when = f"in {delay_s} s" if delay_s else "at once"
        return [f"The web process ended ({_cause(code)}) and is started again {when}."]

    def stop(self) -> None:
        """End it, and close the listening socket."""
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._listener.close()


def command(order: WebOrder, fd: int) -> list[str]:
    """The command line of the child, which gives up its rights on the way."""
    account = order.account
    web = [sys.executable, "-m", order.module, "--store", str(order.store)]
    web += ["--control", str(order.control), "--listen", f"fd:{fd}", "--zone", order.zone]
    launcher = [sys.executable, "-m", "fwdcap.control.webchild"]
    launcher += ["--uid", str(account.uid), "--gid", str(account.gid), "--parent", str(os.getpid())]
    for directory in _needed(order):
        launcher += ["--reveal", str(directory)]
    return [*launcher, "--", *web]


def environment(ours: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """What the child inherits: everything but secrets, and our own code on its path."""
    kept = {key: value for key, value in ours.items() if key not in _SECRETS}
    others = [part for part in kept.get("PYTHONPATH", "").split(os.pathsep) if part]
    kept["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(_CODE), *others]))
    return kept


def _needed(order: WebOrder) -> Sequence[Path]:
    """Directories the child must reach: code, interpreter, store, control socket."""
    places = (_CODE, Path(sys.prefix), Path(sys.base_prefix), order.store, order.control.parent)
    return list(dict.fromkeys(place.absolute() for place in places))


def _inherited(fd: int) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError("it is not a socket")
        listener = socket.socket(fileno=fd)
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.detach()
            raise OSError("nothing listens on it")
    except OSError as error:
        raise Invalid(
            f"File descriptor {fd} cannot be listened on: {error.strerror or error}.",
            code="bad-listen",
            hint="Pass a listening socket, or give --listen HOST:PORT.",
        ) from error
    return listener


def _cannot_listen(address: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"The pages cannot be served on {address}: {error.strerror or error}.",
        code="listen-failed",
        hint="Choose another address with --listen.",
    )


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
