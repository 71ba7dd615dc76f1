"""Changes of users and tokens: a directory in, a directory out, or a refusal."""

from __future__ import annotations

import re
from dataclasses import replace

from fwdcap import abi
from fwdcap.errors import Conflict, Invalid, NotFound
from fwdcap.users.model import Directory, Entry, Token
from fwdcap.users.roles import Role, role_of

MIN_PASSWORD = 8
MAX_PASSWORD = 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")


def role(text: object) -> Role:
    """The role of that name. Raises Invalid."""
    found = role_of(text)
    if found is None:
        raise Invalid(
            f"There is no role {str(text)[:40]!a}.",
            code="bad-role",
            hint=f"Roles are {', '.join(Role)}.",
        )
    return found


def password(text: object) -> str:
    """`text` if it may be a password. Raises Invalid, which does not repeat it."""
    if not isinstance(text, str) or not MIN_PASSWORD <= len(text) <= MAX_PASSWORD or "\0" in text:
        raise Invalid(
            f"The password is not a text of {MIN_PASSWORD} to {MAX_PASSWORD} characters.",
            code="bad-password",
            hint="Choose a longer one; a sentence will do.",
        )
    return text


def name(text: object, what: str = "user") -> str:
    """`text` if it may be the name of a user or token. Raises Invalid."""
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise Invalid(
            f"{str(text)[:40]!a} cannot be the name of a {what}.",
            code="bad-name",
            hint="Up to 64 letters, digits, _ . @ and -, not beginning with . @ or -.",
        )
    return text


def user(directory: Directory, wanted: str) -> Entry:
    """That user. Raises NotFound."""
    found = directory.users.get(wanted)
    if found is None:
        known = ", ".join(directory.users) or "none"
        raise NotFound(
            f"There is no user {wanted[:64]!a}.", code="no-such-user", hint=f"Users: {known}."
        )
    return found


def add(directory: Directory, entry: Entry) -> Directory:
    """With a new user. Raises Conflict or Invalid."""
    name(entry.name)
    if entry.name in directory.users:
        raise Conflict(
            f"There is a user {entry.name} already.",
            code="user-exists",
            hint=f"Change it with `fwdcap user set {entry.name}`.",
        )
    _check(entry)
    return replace(directory, users={**directory.users, entry.name: entry})


def put(directory: Directory, entry: Entry) -> Directory:
    """With a changed user. Raises NotFound, Conflict for the last admin, Invalid."""
    user(directory, entry.name)
    _check(entry)
    return _with_an_admin(replace(directory, users={**directory.users, entry.name: entry}))


def remove(directory: Directory, wanted: str) -> Directory:
    """Without that user and its tokens. Raises NotFound, Conflict for the last admin."""
    user(directory, wanted)
    return _with_an_admin(
        Directory(
            {key: each for key, each in directory.users.items() if key != wanted},
            {key: each for key, each in directory.tokens.items() if each.user != wanted},
        )
    )


def add_token(directory: Directory, new: Token) -> Directory:
    """With a new token. Raises NotFound, Conflict or Invalid."""
    owner = user(directory, new.user)
    name(new.name, "token")
    if new.name in directory.tokens:
        raise Conflict(
            f"There is a token {new.name} already.",
            code="token-exists",
            hint="Choose another name, or remove that one first.",
        )
    if not owner.role.may(new.role):
        raise Invalid(
            f"A token of {owner.name} cannot have the role {new.role}.",
            code="role-too-high",
            hint=f"It may have up to {owner.role}, as its owner.",
        )
    if new.role is Role.RESTRICTED and owner.role is not Role.RESTRICTED:
        raise Invalid(
            f"{owner.name} has no filter that a restricted token could be bound to.",
            code="bad-role",
            hint="Make a restricted user, and the token for that one.",
        )
    if new.expires_ns is not None and new.expires_ns <= new.made_ns:
        raise Invalid(
            "The token would have expired before it is made.",
            code="bad-expiry",
            hint="Let it end in the future.",
        )
    return replace(directory, tokens={**directory.tokens, new.name: new})


def token(directory: Directory, wanted: str) -> Token:
    """That token. Raises NotFound."""
    found = directory.tokens.get(wanted)
    if found is None:
        known = ", ".join(directory.tokens) or "none"
        raise NotFound(
            f"There is no token {wanted[:64]!a}.", code="no-such-token", hint=f"Tokens: {known}."
        )
    return found


def remove_token(directory: Directory, wanted: str) -> Directory:
    """Without that token. Raises NotFound."""
    token(directory, wanted)
    kept = {key: each for key, each in directory.tokens.items() if key != wanted}
    return replace(directory, tokens=kept)


def _check(entry: Entry) -> None:
    if not 0 <= entry.snaplen <= abi.PCAP_SNAPLEN:
        raise Invalid(
            f"The snaplen {entry.snaplen} is not from 0 to {abi.PCAP_SNAPLEN}.",
            code="bad-snaplen",
            hint="0 leaves packets whole.",
        )
    bound = bool(entry.filter or entry.snaplen)
    if entry.role is Role.RESTRICTED and not bound:
        raise Invalid(
            f"The restricted user {entry.name} has neither a filter nor a snaplen.",
            code="no-restriction",
            hint="Give it one of them, or the role downloader.",
        )
    if bound and entry.role is not Role.RESTRICTED:
        raise Invalid(
            f"User {entry.name} has the role {entry.role}, which no filter or snaplen binds.",
            code="not-restricted",
            hint="Only the role restricted has them.",
        )


def _with_an_admin(directory: Directory) -> Directory:
    if any(each.role is Role.ADMIN for each in directory.users.values()):
        return directory
    raise Conflict(
        "This is the last admin, nobody could manage the appliance any more.",
        code="last-admin",
        hint="Make another user an admin first.",
    )
