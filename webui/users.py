"""Who may log in: `users.json`, written by fwdcapd, only read here.

Passwords are scrypt hashes; checking one takes a tenth of a second of CPU on
purpose. A program that sends its password with every request would make that a
denial of service of its own, so a login that was verified is remembered for a
minute, under a keyed hash of user, stored hash and password: the password is
kept nowhere, and a changed one is asked for at once. One check runs at a time,
so that guessing never takes more than one core from the recorder.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from werkzeug.security import check_password_hash

from fwdcap.users.roles import Role, role_of

VERIFIED_S = 60.0
_REMEMBERED = 1024
# What unknown users are checked against: as dear as a real hash, and no password has it.
_NOBODY = f"scrypt:32768:8:1$nobody${'0' * 128}"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class User:
    """A user who proved to be it; `mark` changes with the password."""

    name: str
    role: Role
    mark: str


class Users:
    """The users of one appliance; the file is read again whenever it changed."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._verifying = Lock()
        self._verified: dict[bytes, float] = {}
        self._state: tuple[int, int, int] | None = None
        self._known: dict[str, dict[str, str]] = {}

    def verify(self, name: str, password: str) -> User | None:
        """The user of that name and password; None, after the same time, for any other."""
        entry = self._entries().get(name)
        stored = entry["hash"] if entry else _NOBODY
        token = self._keyed(name, stored, password)
        if not self._remembers(token):
            with self._verifying:
                if not self._remembers(token) and not _matches(stored, password):
                    return None
            if entry is not None:
                self._remember(token)
        return self._user(name, entry) if entry is not None else None

    def recall(self, name: str, mark: str) -> User | None:
        """The user a session was opened for, as long as the password is still the same."""
        entry = self._entries().get(name)
        user = self._user(name, entry) if entry is not None else None
        return user if user is not None and hmac.compare_digest(user.mark, mark) else None

    def _user(self, name: str, entry: dict[str, str]) -> User:
        mark = self._keyed("session", name, entry["hash"]).hex()
        return User(name, Role(entry["role"]), mark)

    def _keyed(self, *parts: str) -> bytes:
        message = b"".join(
            len(raw).to_bytes(8, "big") + raw
            for raw in (part.encode("utf-8", "surrogatepass") for part in parts)
        )
        return hmac.digest(self._key, message, hashlib.sha256)

    def _remembers(self, token: bytes) -> bool:
        until = self._verified.get(token)
        return until is not None and self._clock() < until

    def _remember(self, token: bytes) -> None:
        now = self._clock()
        if len(self._verified) >= _REMEMBERED:
            self._verified = {key: until for key, until in self._verified.items() if until > now}
        if len(self._verified) < _REMEMBERED:
            self._verified[token] = now + VERIFIED_S

    def _entries(self) -> dict[str, dict[str, str]]:
        try:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._state:
                self._known = _parse(json.loads(self._path.read_bytes()))
                self._state = state
        except (OSError, ValueError) as error:
            log.warning("users.json cannot be read, nobody can log in: %s", type(error).__name__)
            self._known, self._state = {}, None
        return self._known


def _matches(stored: str, password: str) -> bool:
    try:
        # HMAC, below scrypt, cannot tell a password from the same with zeros behind it.
        return check_password_hash(stored, password) and "\0" not in password
    except (ValueError, TypeError):  # a hash of a kind this version does not know
        return False


def _parse(raw: object) -> dict[str, dict[str, str]]:
    users = raw.get("users") if isinstance(raw, dict) else None
    if not isinstance(users, dict):
        return {}
    return {
        name: {key: value for key, value in entry.items() if isinstance(value, str)}
        for name, entry in users.items()
        if isinstance(entry, dict)
        and isinstance(entry.get("hash"), str)
        and role_of(entry.get("role")) is not None
    }
