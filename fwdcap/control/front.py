"""nginx before the pages: HTTPS, and nothing else.

It gets the listening socket that the daemon made (its variable NGINX, meant for
replacing a running nginx, names inherited sockets), so an address in use is
refused early and connections wait while it is restarted. Its master keeps the
daemon's rights and alone can read the key; its workers are the pages' user.
Configuration, certificate and the pages' socket are in a directory beside the
control socket, made at each start.
"""

from __future__ import annotations

import contextlib
import grp
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyroute2 import IPRoute

from fwdcap.capture.accounts import Account
from fwdcap.capture.notice import Notice
from fwdcap.config import Settings
from fwdcap.control import webprocess
from fwdcap.control.child import Child
from fwdcap.errors import FwdcapError, Invalid, Unavailable
from fwdcap.tls import certificate, site
from fwdcap.tls.certificate import Pair

PACKAGE = "nginx-light"
_PLACES = "/usr/sbin:/usr/local/sbin:/usr/local/nginx/sbin"
_WORKERS = 2
_CHECK_S = 10.0
_LOOK_AGAIN_S = 3600.0
_ENDS_SOON = timedelta(days=14)
_MOST_NAMES = 64
_EMERGENCY = re.compile(r"\[emerg\](?: [0-9#]+:)? (.+?)\.?$", re.M)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")

State = tuple[tuple[int, int, int], ...]


def program() -> str:
    """Where nginx is; raises Unavailable where it is not installed."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:{_PLACES}")
    if found is None:
        raise Unavailable(
            "Pages that other machines can reach need https, and nginx is not installed.",
            code="no-nginx",
            hint=f"`apt-get install {PACKAGE}`, or let [web] listen be on loopback.",
        )
    return found


def names() -> list[str]:
    """What others may call this machine: host names first, then its addresses."""
    hosts = dict.fromkeys((socket.gethostname(), socket.getfqdn(), "localhost"))
    with IPRoute() as route:
        addresses = [
            str(message.get("address"))
            for message in route.get_addr()
            if not str(message.get("address")).startswith("fe80:")
        ]
    known = dict.fromkeys(["127.0.0.1", "::1", *sorted(addresses)])
    return [*(host for host in hosts if _HOST.fullmatch(host)), *known][:_MOST_NAMES]


class Front(Child):
    """nginx for as long as the daemon lives, with a certificate that is kept in order."""

    def __init__(
        self,
        settings: Settings,
        account: Account,
        listener: socket.socket,
        *,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
        names: Callable[[], Sequence[str]] = names,
    ) -> None:
        """Raises Unavailable without nginx, and Invalid for a bad pair of one's own."""
        super().__init__("nginx")
        self._program = program()
        self._web = settings.web
        self._kept = settings.store.path / "tls"
        control = settings.control.socket
        self._directory = control.with_name(f"{control.name}.web")
        self._account = account
        self._listener = listener
        self._utc = utc
        self._names = names
        self._seen: State = ()
        self._pair = self._own() if self._web.certificate else None
        self._problem = ""
        self._look_s = 0.0

    def prepare(self) -> socket.socket:
        """Everything nginx needs; returns the socket that the pages are to listen on.

        The store must be there. Raises Invalid or Unavailable.
        """
        try:
            shutil.rmtree(self._directory, ignore_errors=True)
            (self._directory / "temporary").mkdir(mode=0o750, parents=True)
            pages = self._pages_socket()
            if self._pair is None:
                self._pair = certificate.ensure(self._kept, self._names(), self._utc())
            self._install(self._pair)
        except OSError as error:
            raise Unavailable(
                f"{self._directory} cannot be prepared for nginx: {error.strerror or error}.",
                code="no-nginx-directory",
                hint="Choose another place with --control.",
            ) from error
        self._listener.setblocking(False)  # two workers wait for the same connection
        self._check()
        return pages

    def launch(self) -> subprocess.Popen[bytes]:
        command = webprocess.launched(self._account, [self._directory], self._command())
        place = command.index("--")
        return subprocess.Popen(
            [*command[:place], "--stay", *command[place:]],
            stdin=subprocess.DEVNULL,
            env=self._environment(),
            pass_fds=(self._listener.fileno(),),
            start_new_session=True,
        )

    def tend(self, now_s: float) -> list[str]:
        """Every second; also looks whether the certificate has changed."""
        child = self._child
        lines = super().tend(now_s)
        if child is not None and self._child is None:
            _end_group(child.pid)  # workers go on without their master
        return [*lines, *self._renew(now_s)]

    def stop(self) -> None:
        child = self._child
        super().stop()
        if child is not None:
            _end_group(child.pid)
        shutil.rmtree(self._directory, ignore_errors=True)

    def notices(self) -> list[Notice]:
        """What is wrong with the certificate."""
        found = [Notice("certificate", self._problem)] if self._problem else []
        if self._pair is not None and self._utc() > self._pair.ends - _ENDS_SOON:
            found.append(
                Notice(
                    "certificate-ends",
                    f"The certificate of the pages ends on {self._pair.ends:%Y-%m-%d}.",
                    "Put a new one in its place; it is taken at once.",
                )
            )
        return found

    # ---- certificate

    def _own(self) -> Pair:
        """The configured pair; what its files were like is remembered."""
        assert self._web.certificate is not None
        assert self._web.key is not None
        self._seen = _state(self._web.certificate, self._web.key)
        return certificate.read(self._web.certificate, self._web.key)

    def _renew(self, now_s: float) -> list[str]:
        """Take a changed certificate; a bad one is told of, and the old one stays."""
        try:
            pair = self._changed(now_s)
            if pair is None or pair == self._pair:
                return []
            self._install(pair)
            self._check()
        except (FwdcapError, OSError) as error:
            said, self._problem = self._problem, f"The new certificate is not used: {error}"
            return [self._problem] if said != self._problem else []
        self._pair, self._problem = pair, ""
        if self._child is not None:
            self._child.send_signal(signal.SIGHUP)
        return [f"The pages have a new certificate, valid until {pair.ends:%Y-%m-%d}."]

    def _changed(self, now_s: float) -> Pair | None:
        if self._web.certificate and self._web.key:
            now = _state(self._web.certificate, self._web.key)
            return self._own() if now != self._seen or self._problem else None
        if now_s < self._look_s:
            return None
        self._look_s = now_s + _LOOK_AGAIN_S
        return certificate.ensure(self._kept, self._names(), self._utc())

    # ---- files

    def _install(self, pair: Pair) -> None:
        own = self._web.certificate is not None
        text = site.config(
            site.Site(
                listen=webprocess.place(self._listener),
                directory=self._directory,
                user=_user(self._account),
                workers=_WORKERS,
                hsts=own and not pair.self_signed,
            )
        )
        certificate.write(self._directory / site.KEY, pair.key)
        certificate.write(self._directory / site.CERTIFICATE, pair.certificate)
        certificate.write(self._directory / site.CONFIG, text.encode())

    def _pages_socket(self) -> socket.socket:
        """A socket in our directory, which the pages' user alone may connect to."""
        pages, path = socket.socket(socket.AF_UNIX), self._directory / site.SOCKET
        pages.bind(str(path))
        if self._account.switch:
            for place in (self._directory, self._directory / "temporary", path):
                os.chown(place, 0, self._account.gid)
        os.chmod(self._directory, 0o750)
        os.chmod(path, 0o660)
        pages.listen(webprocess.BACKLOG)
        return pages

    def _check(self) -> None:
        """nginx's own opinion of all that. Raises Invalid."""
        asked = subprocess.run(
            [*self._command(), "-t"],
            env=self._environment(),
            pass_fds=(self._listener.fileno(),),
            capture_output=True,
            text=True,
            timeout=_CHECK_S,
            check=False,
        )
        if asked.returncode:
            said = _EMERGENCY.search(asked.stderr)
            raise Invalid(
                f"nginx refuses its configuration: {said[1] if said else asked.returncode}.",
                code="nginx-refuses",
                hint="Correct [web] certificate and key, or use another nginx.",
            )

    def _command(self) -> list[str]:
        at = str(self._directory)
        return [self._program, "-e", "stderr", "-p", at, "-c", f"{at}/{site.CONFIG}"]

    def _environment(self) -> dict[str, str]:
        return webprocess.environment(os.environ) | {"NGINX": f"{self._listener.fileno()};"}


def _state(*paths: Path) -> State:
    found = (path.stat() if path.exists() else None for path in paths)
    return tuple((s.st_mtime_ns, s.st_size, s.st_ino) if s else (0, 0, 0) for s in found)


def _user(account: Account) -> str:
    """For nginx's `user`, which wants names; nothing where there is nobody else to become."""
    if not account.switch:
        return ""
    try:
        return f"{account.name} {grp.getgrgid(account.gid).gr_name}"
    except KeyError:
        return account.name  # nginx then takes the group of that name


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
