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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import fwdcap
from fwdcap.capture.accounts import Account
from fwdcap.control.child import Child
from fwdcap.errors import Invalid, Unavailable
from fwdcap.tls.plan import LOCAL, Plan

BACKLOG = 128
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
    plan: Plan = LOCAL
    logins: str = "{}"  # JSON for its --logins


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
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen(address, error) from error
    return listener


def url(listener: socket.socket, https: bool = False) -> str:
    """Where a browser finds the pages."""
    name = listener.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    return f"{'https' if https else 'http'}://{place(listener)}/"


def place(listener: socket.socket) -> str:
    """ADDRESS:PORT of a listening socket, as addresses are written in URLs and by nginx."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can connect."""
    if listener.family == socket.AF_UNIX:
        return True
    return bool(ip_address(listener.getsockname()[0]).is_loopback)


class WebProcess(Child):
    """One web process at a time, for as long as the daemon lives."""

    def __init__(self, order: WebOrder, listener: socket.socket) -> None:
        super().__init__("The web process")
        self._order = order
        self._listener = listener

    def launch(self) -> subprocess.Popen[bytes]:
        fd = self._listener.fileno()
        return subprocess.Popen(
            command(self._order, fd),
            stdin=subprocess.DEVNULL,
            env=environment(os.environ),
            pass_fds=(fd,),
            start_new_session=True,  # Ctrl-C is for the daemon, which ends it in order
        )

    def stop(self) -> None:
        """End it, and close the listening socket."""
        super().stop()
        self._listener.close()


def command(order: WebOrder, fd: int) -> list[str]:
    """The command line of the child, which gives up its rights on the way."""
    web = [sys.executable, "-m", order.module, "--store", str(order.store)]
    web += ["--control", str(order.control), "--listen", f"fd:{fd}", "--zone", order.zone]
    web += ["--logins", order.logins]
    web += ["--clear", order.plan.clear, *(["--behind-nginx"] if order.plan.https else [])]
    return launched(order.account, _needed(order), web)


def launched(account: Account, needed: Iterable[Path], command: Sequence[str]) -> list[str]:
    """`command` behind the launcher: it dies with us, as that user, and sees `needed`."""
    launcher = [sys.executable, "-m", "fwdcap.control.webchild"]
    launcher += ["--uid", str(account.uid), "--gid", str(account.gid), "--parent", str(os.getpid())]
    for directory in needed:
        launcher += ["--reveal", str(directory)]
    return [*launcher, "--", *command]


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
