"""Becomes the web process: gives up root, then runs the command it was given.

    python -m fwdcap.control.webchild --uid U --gid G --parent PID [--stay] [--reveal DIR]...
        -- COMMAND...

It dies with the daemon, so that the next one finds its port free. `--stay` is for
nginx, whose workers become that user by themselves. Where a
directory it needs lies below one that its user may not pass (a clone in /root),
it gets a view of the file system of its own in which that one holds nothing but
what is needed, as systemd's ProtectHome=tmpfs does.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from fwdcap.capture.accounts import Account
from fwdcap.capture.folder import shut_out

# <linux/prctl.h>, <linux/sched.h>, <linux/mount.h>
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 4096, 16384, 1 << 19


def hidden(paths: Iterable[Path], account: Account) -> dict[Path, tuple[Path, ...]]:
    """Directories the account may not pass, each with those of `paths` that lie below."""
    found: dict[Path, tuple[Path, ...]] = {}
    for path in paths:
        wall = shut_out(path, account)
        if wall is not None and wall != path and path.is_dir():
            found[wall] = (*found.get(wall, ()), path)
    return found


def reveal(walls: dict[Path, tuple[Path, ...]]) -> None:
    """In mounts of our own, empty each wall and put what is needed back. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNS), "unshare")
    _mount(libc, "none", "/", None, _MS_REC | _MS_SLAVE, None)
    for wall, paths in walls.items():
        kept = [(path, os.open(path, os.O_PATH | os.O_DIRECTORY)) for path in paths]
        _mount(libc, "tmpfs", str(wall), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
        for path, handle in kept:
            path.mkdir(parents=True, exist_ok=True)
            _mount(libc, f"/proc/self/fd/{handle}", str(path), None, _MS_BIND | _MS_REC, None)
            os.close(handle)


def become(uid: int, gid: int) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def main(arguments: Sequence[str]) -> None:
    """Never returns: the command takes the place of this process."""
    options, command = _parse(arguments)
    account = Account("", options.uid, options.gid)
    if os.geteuid() == 0:
        walls = hidden(options.reveal, account)
        if walls:
            reveal(walls)
        if not options.stay:
            become(options.uid, options.gid)
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    # After the change of user, which would clear it (prctl(2)).
    _check(libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0), "prctl")
    if os.getppid() != options.parent:
        sys.exit("The daemon has gone already.")
    os.chdir("/")
    os.execv(command[0], command)


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="webchild")
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--gid", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--stay", action="store_true", help="remain who we are")
    parser.add_argument("--reveal", type=Path, action="append", default=[])
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    return options, options.command


def _mount(
    libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, data: str | None
) -> None:
    texts = [text.encode() if text is not None else None for text in (source, target, kind)]
    options = data.encode() if data is not None else None
    _check(libc.mount(*texts, ctypes.c_ulong(flags), options), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
