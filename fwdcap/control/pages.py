"""The pages as the daemon serves them: the web process, and nginx before it for https."""

from __future__ import annotations

import json
import socket

from fwdcap.capture.accounts import Account
from fwdcap.capture.notice import Notice
from fwdcap.config import Settings
from fwdcap.control import webprocess
from fwdcap.control.front import Front
from fwdcap.control.webprocess import WebOrder, WebProcess
from fwdcap.errors import Invalid
from fwdcap.tls.plan import plan

_PLAIN = Notice(
    "plain-http",
    'Passwords and packets may be read on the way: [web] plain_http is "api".',
    'Set it to "off" as soon as all programs use https.',
)
_NO_PAGES = Notice(
    "no-pages",
    'Pages are refused: [web] tls is "off" and other machines can connect.',
    'Set it to "auto", or let [web] listen be on loopback.',
)


class Pages:
    """Made before anything is touched, prepared once the store is there."""

    def __init__(self, settings: Settings, account: Account, listener: socket.socket) -> None:
        """Raises Invalid or Unavailable for what could not be served."""
        local = webprocess.is_local(listener)
        self._plan = plan(settings.web, local)
        if self._plan.https and listener.family == socket.AF_UNIX:
            raise Invalid(
                "https is not offered on a unix socket.",
                code="bad-listen",
                hint='Set [web] tls to "auto", or listen on an address.',
            )
        self._listener = listener
        self._front = Front(settings, account, listener) if self._plan.https else None
        self._order = WebOrder(
            store=settings.store.path,
            control=settings.control.socket,
            zone=settings.time.zone,
            account=account,
            plan=self._plan,
            logins=_logins(settings),
        )
        self._web: WebProcess | None = None

    @property
    def url(self) -> str:
        return webprocess.url(self._listener, self._plan.https)

    def prepare(self) -> None:
        """Raises Invalid or Unavailable."""
        listener = self._front.prepare() if self._front else self._listener
        self._web = WebProcess(self._order, listener)

    def start(self, now_s: float) -> None:
        assert self._web is not None
        self._web.start(now_s)
        if self._front is not None:
            self._front.start(now_s)

    def tend(self, now_s: float) -> list[str]:
        """Every second; returns lines for the log. Raises OSError."""
        lines = self._web.tend(now_s) if self._web else []
        return [*lines, *(self._front.tend(now_s) if self._front else ())]

    def stop(self) -> None:
        for child in (self._front, self._web):
            if child is not None:
                child.stop()

    def notices(self) -> list[Notice]:
        """What the status has to say about them."""
        found = self._front.notices() if self._front else []
        if self._plan.clear == "api":
            found.append(_PLAIN)
        elif self._plan.clear == "none" and not self._plan.https:
            found.append(_NO_PAGES)
        return found


def _logins(settings: Settings) -> str:
    """Further ways to log in, for the web process; nothing of it is secret."""
    users = settings.users
    return json.dumps(
        {
            "pam": bool(users.pam),
            "proxy_header": users.proxy_header,
            "proxy_groups": users.proxy_groups,
            "proxy_from": users.proxy_from,
            "groups": users.groups,
        }
    )
