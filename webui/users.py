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
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, Literal

from werkzeug.datastructures import Headers
from werkzeug.security import check_password_hash

from fwdcap.errors import TooMany
from fwdcap.users.model import Directory, Entry, decode, digest_of, lesser
from fwdcap.users.roles import Role, role_of
from webui.delays import Delays
from webui.logins import NONE as NO_LOGINS
from webui.logins import Logins

VERIFIED_S = 60.0
_REMEMBERED = 1024
# What unknown users are checked against: as dear as a real hash, and no password has it.
_NOBODY = f"scrypt:32768:8:1$nobody${'0' * 128}"
_LONGEST_NAME = 128
_STRANGERS = 4  # of the sixteen workers
_OF_PAM = "pam"  # stands for the hash that only PAM has

Source = Literal["password", "token", "pam", "proxy"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class User:
    """A user who proved to be it; `mark` changes with the password.

    `filter` and `snaplen` bind the role restricted; `token` is the one that was
    sent; a `provisional` password has to be changed by the first browser.
    """

    name: str
    role: Role
    mark: str
    source: Source = "password"
    filter: str = ""
    snaplen: int = 0
    provisional: bool = False
    token: str = ""

    @property
    def who(self) -> str:
        """The user as the audit log names it."""
        if self.source == "token":
            return f"{self.name} by token {self.token}"
        return self.name if self.source == "password" else f"{self.name} by {self.source}"


class Users:
    """The users of one appliance; the file is read again whenever it changed."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        *,
        now_ns: Callable[[], int] = time.time_ns,
        logins: Logins = NO_LOGINS,
        ask_pam: Callable[[str, str], Mapping[str, Any]] | None = None,
    ) -> None:
        """`ask_pam` says `right` and `groups`; it is asked where `logins` has PAM."""
        self._path = path
        self._clock = clock
        self._now_ns = now_ns
        self._logins = logins
        self._ask_pam = ask_pam if logins.pam else None
        self._key = secrets.token_bytes(32)
        self._verifying = Lock()
        self._strangers = BoundedSemaphore(_STRANGERS)
        self._asking = Lock()  # PAM may take seconds, which no local user should wait for
        self._verified: dict[bytes, tuple[float, Role]] = {}
        self._delays = Delays(clock)
        self._state: tuple[int, int, int] | None = None
        self._known = Directory()

    def verify(self, name: str, password: str, address: str = "") -> User | None:
        """The user of that name and password; None, after the same time, for any other.

        Raises TooMany after too many wrong ones from that address, Unavailable
        where PAM cannot be asked.
        """
        self._delays.check(name, address)
        entry = self._directory().users.get(name)
        stored = entry.hash if entry else _OF_PAM if self._ask_pam else _NOBODY
        token = self._keyed(name, stored, password)
        role = self._remembered(token)
        if role is None:
            with (
                self._few(entry),
                self._asking if stored == _OF_PAM else self._verifying,
            ):
                self._delays.check(name, address)  # many may have come at once
                role = self._remembered(token) or self._role(name, entry, password)
            if role is None:
                self._delays.failed(name, address)
                return None
            self._remember(token, role)
        self._delays.passed(name, address)
        return self._user(entry) if entry is not None else self._guest(name, role, "pam")

    @contextmanager
    def _few(self, entry: Entry | None) -> Iterator[None]:
        """Lets no more than a few wait whom users.json does not know: every name is another
        pair for the delays, and who waits holds a worker. Raises TooMany."""
        if entry is not None:
            yield
            return
        if not self._strangers.acquire(blocking=False):
            raise TooMany(
                "There are too many logins of unknown users at a time.",
                code="too-many-logins",
                hint="Wait for 1 s, then try again.",
            )
        try:
            yield
        finally:
            self._strangers.release()

    def knows(self, name: str) -> bool:
        """Whether users.json has a user of that name."""
        return name in self._directory().users

    def current(self, name: str) -> User | None:
        """That user of users.json, who has proved to be it already."""
        entry = self._directory().users.get(name)
        return self._user(entry) if entry is not None else None

    def recall(self, name: str, mark: str) -> User | None:
        """The user a session was opened for, as long as the password is still the same."""
        user = self.current(name)
        return user if user is not None and hmac.compare_digest(user.mark, mark) else None

    def recall_guest(self, name: str, role: object, mark: str) -> User | None:
        """The same for a user whom PAM knows and users.json does not."""
        found = role_of(role)
        if self._ask_pam is None or found is None or self.knows(name):
            return None
        user = self._guest(name, found, "pam")
        return user if hmac.compare_digest(user.mark, mark) else None

    def of_token(self, text: str) -> User | None:
        """The user whose token that is; None for one that is unknown or has expired."""
        directory, digest = self._directory(), digest_of(text)
        found = None
        for token in directory.tokens.values():
            if hmac.compare_digest(token.digest, digest):
                found = token
        owner = directory.users.get(found.user) if found is not None else None
        if found is None or owner is None:
            return None
        if found.expires_ns is not None and found.expires_ns <= self._now_ns():
            return None
        role = lesser(found.role, owner.role)
        return User(owner.name, role, "", "token", owner.filter, owner.snaplen, token=found.name)

    def of_proxy(self, peer: str, headers: Headers) -> User | None:
        """The user whom a trusted proxy names, None where there is no such thing."""
        logins = self._logins
        if not logins.trusts(peer):
            return None
        name = headers.get(logins.proxy_header, "").strip()
        groups = headers.get(logins.proxy_groups, "").replace(";", ",").split(",")
        role = logins.role(group.strip() for group in groups)
        if not name or len(name) > _LONGEST_NAME or role is None:
            return None
        return self._guest(name, role, "proxy")

    def _role(self, name: str, entry: Entry | None, password: str) -> Role | None:
        """The role of the user who has that password, by a check that takes its time."""
        if entry is not None:
            return entry.role if _matches(entry.hash, password) else None
        if self._ask_pam is None or not 0 < len(name) <= _LONGEST_NAME or "\0" in name + password:
            _matches(_NOBODY, password)
            return None
        said = self._ask_pam(name, password)
        return self._logins.role(said.get("groups", ())) if said.get("right") is True else None

    def _user(self, entry: Entry) -> User:
        mark = self._keyed("session", entry.name, entry.hash).hex()
        return User(
            entry.name,
            entry.role,
            mark,
            filter=entry.filter,
            snaplen=entry.snaplen,
            provisional=entry.provisional,
        )

    def _guest(self, name: str, role: Role, source: Source) -> User:
        return User(name, role, self._keyed("guest", name, role, source).hex(), source)

    def _keyed(self, *parts: str) -> bytes:
        message = b"".join(
            len(raw).to_bytes(8, "big") + raw
            for raw in (part.encode("utf-8", "surrogatepass") for part in parts)
        )
        return hmac.digest(self._key, message, hashlib.sha256)

    def _remembered(self, token: bytes) -> Role | None:
        until_s, role = self._verified.get(token, (0.0, None))
        return role if self._clock() < until_s else None

    def _remember(self, token: bytes, role: Role) -> None:
        now_s = self._clock()
        if len(self._verified) >= _REMEMBERED:
            self._verified = {key: kept for key, kept in self._verified.items() if kept[0] > now_s}
        if len(self._verified) < _REMEMBERED:
            self._verified[token] = now_s + VERIFIED_S, role

    def _directory(self) -> Directory:
        try:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._state:
                self._known = decode(json.loads(self._path.read_bytes()))
                self._state = state
        except (OSError, ValueError) as error:
            log.warning("users.json cannot be read, nobody can log in: %s", type(error).__name__)
            self._known, self._state = Directory(), None
        return self._known


def _matches(stored: str, password: str) -> bool:
    try:
        # HMAC, below scrypt, cannot tell a password from the same with zeros behind it.
        return check_password_hash(stored, password) and "\0" not in password
    except (ValueError, TypeError):  # a hash of a kind this version does not know
        return False
