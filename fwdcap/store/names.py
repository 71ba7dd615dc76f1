"""What captures and streams may be called.

A name reaches file names, URLs, shell scripts and comma-separated lists, so it
is limited to characters that mean nothing to any of them. A stream is its
capture's name and the local minute it began.
"""

from __future__ import annotations

import re
from collections.abc import Container
from itertools import count
from pathlib import Path

from fwdcap.errors import Invalid, NotFound
from fwdcap.store.times import local, zone_of

NAME_CHARACTERS = 128
# A stream's name is longer than its capture's by the date and a number.
STREAM_CHARACTERS = NAME_CHARACTERS + 32

_ALLOWED = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def check_name(name: str) -> str:
    """`name` itself where a capture may be called so; raises Invalid otherwise."""
    if 0 < len(name) <= NAME_CHARACTERS and _ALLOWED.fullmatch(name):
        return name
    said = "is missing" if not name else f"{shorten(name)} cannot be used"
    raise Invalid(
        f"The capture's name {said}.",
        code="bad-name",
        hint=f"Use 1 to {NAME_CHARACTERS} of A-Z a-z 0-9 _ . - and do not begin with a dot.",
    )


def stream_name(name: str, started_ns: int, zone: str, taken: Container[str]) -> str:
    """`<name>_<YYYYMMDD_HHMM>` in `zone`, with -2, -3 … where that is taken already."""
    first = f"{check_name(name)}_{local(started_ns, zone_of(zone)):%Y%m%d_%H%M}"
    if first not in taken:
        return first
    return next(later for n in count(2) if (later := f"{first}-{n}") not in taken)


def stream_directory(root: Path, stream: str) -> Path:
    """Where `stream` is kept below the store; raises NotFound for what cannot be one."""
    if len(stream) > STREAM_CHARACTERS or not _ALLOWED.fullmatch(stream):
        raise not_found(stream)
    return root / "streams" / stream


def not_found(stream: str) -> NotFound:
    """The refusal everybody gives for a stream that is not in the store."""
    return NotFound(
        f"There is no stream {shorten(stream)}.",
        code="no-such-stream",
        hint="/plain/list and the Files page show what there is.",
    )


def shorten(text: str, characters: int = 40) -> str:
    """`text` quoted for a sentence: printable ASCII only, cut where it is long."""
    cut = text if len(text) <= characters else text[:characters] + "…"
    return repr(cut).encode("ascii", "backslashreplace").decode() if cut.isascii() else ascii(cut)
