"""The verbs for users and tokens; every answer is JSON, none holds a secret but a new token.

The file is read for each verb and replaced by each change: root may have mended
it by hand meanwhile. Web processes notice that it changed by themselves.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fwdcap.capture.accounts import Account
from fwdcap.capture.notice import Notice
from fwdcap.control import usersfile
from fwdcap.errors import FwdcapError, Invalid
from fwdcap.store.export import check_filter
from fwdcap.users import changes
from fwdcap.users.model import TOKEN_PREFIX, Directory, Entry, Token, digest_of
from fwdcap.users.roles import Role

Body = dict[str, Any]

_USER_KEYS = frozenset({"name", "role", "password", "filter", "snaplen"})
_TOKEN_KEYS = frozenset({"name", "user", "role", "expires_ns"})


class People:
    """Users and tokens of one store."""

    def __init__(
        self,
        store: Path,
        web: Account,
        *,
        utc_ns: Callable[[], int] = time.time_ns,
        hash_of: Callable[[str], str] = usersfile.hash_of,
    ) -> None:
        self._store = store
        self._web = web
        self._utc_ns = utc_ns
        self._hash_of = hash_of
        self._alone = threading.Lock()

    def users(self) -> Body:
        """Raises Invalid where the file cannot be read."""
        return {"users": [entry.to_dict() for entry in self._read().users.values()]}

    def user_add(self, body: Mapping[str, Any]) -> Body:
        """Raises Invalid, Conflict or DiskFull; without a password nobody logs in as that one."""
        _only(body, _USER_KEYS)
        entry = Entry(
            name=changes.name(body.get("name")),
            role=changes.role(body.get("role")),
            hash=self._hashed(body),
            filter=_filter(body.get("filter", "")),
            snaplen=_number(body, "snaplen"),
        )
        self._change(lambda directory: changes.add(directory, entry))
        return _said(entry, "added")

    def user_set(self, name: str, body: Mapping[str, Any]) -> Body:
        """Change what `body` names. Raises NotFound, Invalid, Conflict or DiskFull."""
        _only(body, _USER_KEYS - {"name"})
        given: Body = {}
        if "role" in body:
            given["role"] = changes.role(body["role"])
        if "password" in body:
            given |= {"hash": self._hashed(body), "provisional": False}
        if "filter" in body:
            given["filter"] = _filter(body["filter"])
        if "snaplen" in body:
            given["snaplen"] = _number(body, "snaplen")
        if given.get("role", Role.RESTRICTED) is not Role.RESTRICTED:
            given = {"filter": "", "snaplen": 0} | given  # they bind nobody else

        def change(directory: Directory) -> Directory:
            return changes.put(directory, replace(changes.user(directory, name), **given))

        return _said(self._change(change).users[name], "changed")

    def user_remove(self, name: str) -> Body:
        """Raises NotFound, Conflict for the last admin, or DiskFull."""
        self._change(lambda directory: changes.remove(directory, name))
        return {"name": name, "message": f"removed user [{name}]"}

    def tokens(self) -> Body:
        """Raises Invalid where the file cannot be read."""
        return {"tokens": [token.to_dict() for token in self._read().tokens.values()]}

    def token_add(self, body: Mapping[str, Any]) -> Body:
        """`token` of the answer is told this once. Raises NotFound, Invalid, Conflict, DiskFull."""
        _only(body, _TOKEN_KEYS)
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        user = changes.name(body.get("user"))
        owner = changes.user(self._read(), user)
        token = Token(
            name=changes.name(body.get("name"), "token"),
            user=user,
            role=changes.role(body["role"]) if body.get("role") is not None else owner.role,
            digest=digest_of(secret),
            made_ns=self._utc_ns(),
            expires_ns=_number(body, "expires_ns") or None,
        )
        self._change(lambda directory: changes.add_token(directory, token))
        return {**token.to_dict(), "token": secret, "message": f"added token [{token.name}]"}

    def token_set(self, name: str, body: Mapping[str, Any]) -> Body:
        """Change its role or when it ends. Raises NotFound, Invalid or DiskFull."""
        _only(body, _TOKEN_KEYS - {"name", "user"})
        given: Body = {}
        if "role" in body:
            given["role"] = changes.role(body["role"])
        if "expires_ns" in body:
            given["expires_ns"] = _number(body, "expires_ns") or None

        def change(directory: Directory) -> Directory:
            token = replace(changes.token(directory, name), **given)
            return changes.add_token(changes.remove_token(directory, name), token)

        token = self._change(change).tokens[name]
        return {**token.to_dict(), "message": f"changed token [{name}]"}

    def token_remove(self, name: str) -> Body:
        """Raises NotFound or DiskFull."""
        self._change(lambda directory: changes.remove_token(directory, name))
        return {"name": name, "message": f"removed token [{name}]"}

    def notices(self) -> tuple[Notice, ...]:
        """That somebody's password is one that others may know."""
        try:
            users = self._read().users.values()
        except FwdcapError as error:
            return (Notice(error.code, error.message, error.hint),)
        return tuple(
            Notice(
                "instance-id-password",
                f"The password of user {user.name} is this machine's instance id, "
                "which others in the account can read.",
                "Log in with a browser, which asks for another, "
                f"or use `fwdcap user set {user.name}`.",
            )
            for user in users
            if user.provisional
        )

    def _hashed(self, body: Mapping[str, Any]) -> str:
        return self._hash_of(changes.password(body.get("password")))

    def _read(self) -> Directory:
        return usersfile.read(self._store)

    def _change(self, change: Callable[[Directory], Directory]) -> Directory:
        with self._alone:
            directory = change(self._read())
            usersfile.write(self._store, directory, self._web)
        return directory


def _said(entry: Entry, done: str) -> Body:
    return {**entry.to_dict(), "message": f"{done} user [{entry.name}]"}


def _only(body: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(str(key) for key in body.keys() - known)
    if unknown:
        raise Invalid(
            f"{unknown[0][:40]!a} is not known here.",
            code="bad-request",
            hint=f"Known: {', '.join(sorted(known))}.",
        )


def _number(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key)
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise Invalid(f"{key} is not a whole number.", code="bad-request", hint=f"Correct {key}.")


def _filter(text: object) -> str:
    """A filter that compiles, or none. Raises Invalid."""
    if text is None or text == "":
        return ""
    if not isinstance(text, str) or not text.strip():
        raise Invalid("The filter is no text.", code="bad-filter", hint="Write it as tcpdump does.")
    check_filter(text)
    return text
