"""users.json of the store: who may log in, written by fwdcapd (or root without one) alone.

The first user is `fwdcap`. FWDCAP_ADMIN_PASSWORD sets its password; without it
a file that is there is left alone. A new one gets what the cloud gave this
machine, its instance id, which must be changed at the first login; else a random
password, which is returned once and kept nowhere in clear.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

from fwdcap.capture.accounts import Account
from fwdcap.capture.folder import refusal
from fwdcap.errors import Invalid
from fwdcap.users.model import Directory, Entry, decode, encode
from fwdcap.users.roles import Role

FILE = "users.json"
ADMIN = "fwdcap"
MODE = 0o640


def ensure(
    store: Path,
    web: Account,
    password: str | None,
    *,
    instance_id: Callable[[], str | None] = lambda: None,
    new_password: Callable[[], str] = lambda: secrets.token_urlsafe(12),
) -> str | None:
    """See to it that there is an admin; returns its password when one was made up.

    `instance_id` is asked only where there is no user yet and no password given.
    Raises Invalid for a file that cannot be read, DiskFull for one that cannot be written.
    """
    directory = read(store)
    admin = directory.users.get(ADMIN)
    if password is None and directory.users:
        return None
    if password is not None and admin and check_password_hash(admin.hash, password):
        return None
    given = None if password is not None else instance_id()
    made_up = new_password() if password is None and given is None else None
    hashed = hash_of(password or given or made_up or "")
    before = admin or Entry(ADMIN, Role.ADMIN, "")
    entry = replace(before, hash=hashed, provisional=given is not None)
    write(store, replace(directory, users={**directory.users, ADMIN: entry}), web)
    return made_up


def hash_of(password: str) -> str:
    """A hash that takes a tenth of a second and 32 MB to compute (scrypt, RFC 7914)."""
    return generate_password_hash(password, method="scrypt")


def read(store: Path) -> Directory:
    """All users and tokens, none where there is no file. Raises Invalid for what cannot be read."""
    path = store / FILE
    try:
        return decode(json.loads(path.read_bytes()), strict=True)
    except FileNotFoundError:
        return Directory()
    except (OSError, ValueError):
        raise Invalid(
            f"The users in {path} cannot be read.",
            code="users-unreadable",
            hint="Mend that file, or delete it to begin anew with the one user fwdcap.",
        ) from None


def write(store: Path, directory: Directory, web: Account) -> None:
    """Replace the file; on return it is on disk. Raises DiskFull."""
    try:
        _write(store / FILE, directory, web)
    except OSError as error:
        raise refusal(error, store) from error


def _write(path: Path, directory: Directory, web: Account) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w") as handle:
        os.fchmod(handle.fileno(), MODE)
        if web.switch:
            os.fchown(handle.fileno(), 0, web.gid)
        json.dump(encode(directory), handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.rename(path)
