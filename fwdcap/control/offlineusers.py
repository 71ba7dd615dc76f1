"""Users, tokens and the audit log while no daemon runs: root changes the file itself.

The same verbs with the same answers as the client's. The store is locked as a
daemon locks it, so that there is one writer in any case.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from fwdcap.capture.accounts import lookup
from fwdcap.config import Settings
from fwdcap.control.audit import Event
from fwdcap.control.daemon import only_daemon
from fwdcap.control.whoasks import Access
from fwdcap.errors import Forbidden, NotFound

Body = dict[str, Any]


class OfflineUsers:
    """The verbs that need no daemon. Raises Forbidden for anybody but root, NotFound."""

    def __init__(self, settings: Settings) -> None:
        if os.geteuid() != 0:
            raise Forbidden(
                "Without a daemon only root may look at users or change them.",
                code="not-permitted",
                hint="Run the command as root, or start the daemon.",
            )
        self._store = settings.store.path
        if not self._store.is_dir():
            raise NotFound(
                f"There is no store {self._store}.",
                code="no-store",
                hint="Name the settings with --config, or --set store.path=DIR.",
            )
        web = lookup(settings.users.web, settings.users.recorder).web
        self._access = Access.of(settings, web)

    def users(self) -> Body:
        return self._access.people.users()

    def user_add(self, body: Body) -> Body:
        people = self._access.people
        return self._change("user-add", str(body["name"]), lambda: people.user_add(body))

    def user_set(self, name: str, body: Body) -> Body:
        return self._change("user-set", name, lambda: self._access.people.user_set(name, body))

    def user_remove(self, name: str) -> Body:
        return self._change("user-remove", name, lambda: self._access.people.user_remove(name))

    def tokens(self) -> Body:
        return self._access.people.tokens()

    def token_add(self, body: Mapping[str, Any]) -> Body:
        people = self._access.people
        return self._change("token-add", str(body["name"]), lambda: people.token_add(body))

    def token_remove(self, name: str) -> Body:
        return self._change("token-remove", name, lambda: self._access.people.token_remove(name))

    def audit(self, last: int = 100) -> Body:
        return {"events": self._access.audit.last(last)}

    def _change(self, what: str, target: str, change: Callable[[], Body]) -> Body:
        with only_daemon(self._store / "daemon"):
            answer = change()
            self._access.audit.add(Event("root", "command line", what, target))
        return answer
