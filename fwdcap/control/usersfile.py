"""users.json of the store: who may log in to the pages, written when a daemon starts.

The first user is `fwdcap`. FWDCAP_ADMIN_PASSWORD sets its password; without it
a file that is there is left alone, and a new one gets a random password, which
is returned once and kept nowhere in clear.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from werkzeug.security import check_password_hash, generate_password_hash

from fwdcap.capture.accounts import Account
from fwdcap.capture.folder import refusal
from fwdcap.errors import Invalid

FILE = "users.json"
ADMIN = "fwdcap"
MODE = 0o640


def ensure(
    store: Path,
    web: Account,
    password: str | None,
    *,
    new_password: Callable[[], str] = lambda: secrets.token_urlsafe(12),
) -> str | None:
    """See to it that there is an admin; returns its password when one was made up.

    Raises Invalid for a file that cannot be read, DiskFull for one that cannot be written.
    """
    path = store / FILE
    users = _read(path)
    admin = users.get(ADMIN)
    if password is None and users:
        return None
    if password is not None and admin and check_password_hash(admin.get("hash", ""), password):
        return None
    made_up = None if password is not None else new_password()
    hashed = generate_password_hash(password or made_up or "", method="scrypt")
    users[ADMIN] = {"role": "admin", **(admin or {}), "hash": hashed}
    try:
        _write(path, users, web)
    except OSError as error:
        raise refusal(error, store) from error
    return made_up


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        users = json.loads(path.read_bytes())["users"]
        return {str(name): dict(entry) for name, entry in users.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise Invalid(
            f"The users in {path} cannot be read.",
            code="users-unreadable",
            hint="Mend that file, or delete it to begin anew with the one user fwdcap.",
        ) from None


def _write(path: Path, users: dict[str, dict[str, Any]], web: Account) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w") as handle:
        os.fchmod(handle.fileno(), MODE)
        if web.switch:
            os.fchown(handle.fileno(), 0, web.gid)
        json.dump({"users": users}, handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.rename(path)
