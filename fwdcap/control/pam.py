"""A login by PAM, checked by root, in a process of its own.

The web process may not ask PAM: what checks /etc/shadow wants root. And modules
of PAM are foreign code that may wait, or crash: fwdcapd lets a child do it, which
gets the password on its standard input and ends with 0 for a right one.
"""

from __future__ import annotations

import grp
import json
import logging
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fwdcap.control.webprocess import environment
from fwdcap.errors import Unavailable

TIMEOUT_S = 10.0
_RIGHT, _WRONG = 0, 1
_COMMAND = (sys.executable, "-P", "-m", "fwdcap.control.pam")

log = logging.getLogger(__name__)


def groups_of(name: str) -> list[str]:
    """The names of a user's groups; none for a user this machine does not know."""
    try:
        first = pwd.getpwnam(name).pw_gid
    except (KeyError, ValueError):
        return []
    found = []
    for number in os.getgrouplist(name, first):
        try:
            found.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return found


class Pam:
    """The checks of one PAM service; without a name nobody logs in this way."""

    def __init__(
        self,
        service: str,
        *,
        command: Sequence[str] = _COMMAND,
        groups: Callable[[str], list[str]] = groups_of,
    ) -> None:
        self._service = service
        self._command = command
        self._groups = groups

    def login(self, name: str, password: str) -> dict[str, Any]:
        """`right`, and the user's `groups` where it is. Raises Unavailable."""
        right = bool(self._service) and self._ask(name, password) == _RIGHT
        return {"right": right, "groups": self._groups(name) if right else []}

    def _ask(self, name: str, password: str) -> int:
        question = json.dumps([self._service, name, password])
        try:
            child = subprocess.run(
                self._command,
                input=question,
                text=True,
                capture_output=True,
                timeout=TIMEOUT_S,
                cwd="/",
                env=environment(os.environ),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unavailable(type(error).__name__) from None
        if child.returncode not in (_RIGHT, _WRONG):
            raise _unavailable(child.stderr.strip().rpartition("\n")[2][:200])
        return child.returncode


def _unavailable(why: str) -> Unavailable:
    log.error("PAM could not be asked: %s", why)
    return Unavailable(
        "PAM could not be asked.",
        code="pam-unavailable",
        hint="The daemon's log says why; it needs the Python package python-pam.",
    )


def main() -> int:
    """Asks PAM what stands on standard input; 2 where it cannot be asked."""
    service, name, password = json.load(sys.stdin)
    try:
        import pam
    except ImportError:
        print("the Python package python-pam is not installed", file=sys.stderr)
        return 2
    right = pam.pam().authenticate(name, password, service=service)
    return _RIGHT if right else _WRONG


if __name__ == "__main__":
    sys.exit(main())
