"""The users that web pages and recorder run as.

fwdcapd keeps its privileges to itself: what reads the network's bytes or answers
a browser runs as somebody who may nothing else. Where the configured users are
not there it is nobody, and the status says so.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from fwdcap.capture.notice import Notice

_NOBODY = "nobody"
_NOGROUPS = ("nogroup", "nobody")
_NOBODY_ID = 65534


@dataclass(frozen=True)
class Account:
    """A user and its primary group, by number; `switch` False: stay who we are."""

    name: str
    uid: int
    gid: int
    switch: bool = True


@dataclass(frozen=True)
class Accounts:
    """Who runs what, and what there is to say about it."""

    web: Account
    recorder: Account
    notices: tuple[Notice, ...] = ()


def lookup(web: str, recorder: str) -> Accounts:
    """The accounts of those names; nobody, with a notice, for each that is missing.

    Without root nothing can be switched: both are then the user we are.
    """
    if os.geteuid() != 0:
        ourselves = _ourselves()
        return Accounts(ourselves, ourselves)
    found_web, found_recorder = _find(web), _find(recorder)
    missing = [
        name for name, found in ((web, found_web), (recorder, found_recorder)) if found is None
    ]
    return Accounts(
        found_web or _nobody(),
        found_recorder or _nobody(),
        tuple(
            Notice(
                "user-missing",
                f"There is no user {name}; it runs as `{_NOBODY}` instead.",
                f"Create it with `useradd --system --no-create-home {name}`.",
            )
            for name in missing
        ),
    )


def _find(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def _nobody() -> Account:
    for group in _NOGROUPS:
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            continue
        break
    else:
        gid = _NOBODY_ID
    found = _find(_NOBODY)
    return Account(_NOBODY, found.uid if found else _NOBODY_ID, gid)


def _ourselves() -> Account:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Account(name, uid, os.getegid(), switch=False)
