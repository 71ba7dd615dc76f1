"""Whether somebody records into a stream right now.

The recorder's command line names its stream's directory, so that operators,
tests and the next daemon find it; here it is what forbids to repair a stream
under the hands of the process that writes it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def recorder_of(directory: Path, proc: Path = _PROC) -> int | None:
    """The process id of the recorder of that stream; None where there is none.

    Only the directory's owner, root and ourselves are believed to be one.
    """
    wanted = directory.stat()
    believed = {0, wanted.st_uid, os.geteuid()}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid not in believed:
                continue
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        for named in _streams(words):
            if _same(entry, os.fsdecode(named), directory, wanted):
                return int(entry.name)
    return None


def _streams(words: list[bytes]) -> Iterator[bytes]:
    """The values of --stream in a recorder's command line."""
    if not any(word == b"--pins" or word.startswith(b"--pins=") for word in words):
        return
    for word, following in itertools.pairwise([*words, b""]):
        if word == b"--stream":
            yield following
        elif word.startswith(b"--stream="):
            yield word.removeprefix(b"--stream=")


def _same(process: Path, named: str, directory: Path, wanted: os.stat_result) -> bool:
    """Whether the process means that directory by that name, in its own place."""
    if Path(named) == directory.absolute():
        return True
    base = process / "root" if named.startswith("/") else process / "cwd"
    try:
        return os.path.samestat((base / named.lstrip("/")).stat(), wanted)
    except OSError:
        return False
