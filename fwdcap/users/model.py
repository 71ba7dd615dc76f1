"""users.json as values: who may log in, and the tokens of programs.

    {"users":  {NAME: {"role", "hash", "filter"?, "snaplen"?, "provisional"?}},
     "tokens": {NAME: {"user", "role", "digest", "made_ns", "expires_ns"?}}}

Neither passwords nor tokens stand in it: `hash` is werkzeug's scrypt, `digest`
the SHA-256 of a token, which is random and needs no salt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fwdcap.users.roles import Role, role_of

Raw = dict[str, Any]
TOKEN_PREFIX = "fwdcap_"  # lets a person, or a scanner for secrets, see what it is


@dataclass(frozen=True)
class Entry:
    """A user; `filter` (tcpdump's language) and `snaplen` (0: none) bind a restricted one.

    A `provisional` password is one that others may know: it is changed at the first login.
    """

    name: str
    role: Role
    hash: str
    filter: str = ""
    snaplen: int = 0
    provisional: bool = False

    def to_dict(self) -> Raw:
        """The user as it is shown: without its password's hash."""
        raw = {"name": self.name, "role": self.role.value}
        return raw | {
            "filter": self.filter,
            "snaplen": self.snaplen,
            "provisional": self.provisional,
        }


@dataclass(frozen=True)
class Token:
    """A token of a program: it acts as `user`, with at most `role`; times in UTC ns."""

    name: str
    user: str
    role: Role
    digest: str
    made_ns: int
    expires_ns: int | None = None

    def to_dict(self) -> Raw:
        """The token as it is shown: without what could stand in for it."""
        return {
            "name": self.name,
            "user": self.user,
            "role": self.role.value,
            "made_ns": self.made_ns,
            "expires_ns": self.expires_ns,
        }


@dataclass(frozen=True)
class Directory:
    """All users and tokens, by name."""

    users: Mapping[str, Entry] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)


def digest_of(token: str) -> str:
    """What of a token is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def lesser(one: Role, other: Role) -> Role:
    """The lower of two roles."""
    return one if other.may(one) else other


def decode(raw: object, *, strict: bool = False) -> Directory:
    """The directory in a document; what cannot be understood is left out.

    `strict`: raises ValueError for it, so that nobody writes back less than was there.
    """
    document = raw if isinstance(raw, dict) else {}
    users, tokens = document.get("users"), document.get("tokens", {})
    if strict and not (isinstance(users, dict) and isinstance(tokens, dict)):
        raise ValueError("no users")
    found_users = {name: _entry(name, each) for name, each in _dicts(users, strict)}
    found_tokens = {name: _token(name, each) for name, each in _dicts(tokens, strict)}
    if strict and not (all(found_users.values()) and all(found_tokens.values())):
        raise ValueError("a user or token that this version does not know")
    return Directory(
        {name: entry for name, entry in found_users.items() if entry is not None},
        {name: token for name, token in found_tokens.items() if token is not None},
    )


def encode(directory: Directory) -> Raw:
    """The document of a directory; what is not set is not written."""
    document: Raw = {
        "users": {
            name: _set(
                role=entry.role.value,
                hash=entry.hash,
                filter=entry.filter,
                snaplen=entry.snaplen,
                provisional=entry.provisional,
            )
            for name, entry in directory.users.items()
        }
    }
    if directory.tokens:
        document["tokens"] = {
            name: _set(
                user=token.user,
                role=token.role.value,
                digest=token.digest,
                made_ns=token.made_ns,
                expires_ns=token.expires_ns,
            )
            for name, token in directory.tokens.items()
        }
    return document


def _dicts(raw: object, strict: bool) -> Iterator[tuple[str, Raw]]:
    for name, each in raw.items() if isinstance(raw, dict) else ():
        if isinstance(each, dict):
            yield name, each
        elif strict:
            raise ValueError("an entry that is none")


def _entry(name: str, raw: Raw) -> Entry | None:
    role, stored = role_of(raw.get("role")), raw.get("hash")
    if role is None or not isinstance(stored, str):
        return None
    filter_, snaplen = raw.get("filter", ""), raw.get("snaplen", 0)
    if not isinstance(filter_, str) or not isinstance(snaplen, int) or snaplen < 0:
        return None
    return Entry(name, role, stored, filter_, snaplen, raw.get("provisional") is True)


def _token(name: str, raw: Raw) -> Token | None:
    role, user, digest = role_of(raw.get("role")), raw.get("user"), raw.get("digest")
    made_ns, expires_ns = raw.get("made_ns", 0), raw.get("expires_ns")
    if role is None or not isinstance(user, str) or not isinstance(digest, str):
        return None
    if not isinstance(made_ns, int) or not isinstance(expires_ns, int | None):
        return None
    return Token(name, user, role, digest, made_ns, expires_ns)


def _set(**values: object) -> Raw:
    return {key: value for key, value in values.items() if value}
