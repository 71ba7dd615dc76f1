"""What of the packets a download is to hold, from its parameters.

Without any of them a download is bytes of the store as they are; with one it
goes through fwdcap-scan. Every filter must match; several routes or modes, with
commas between them, are alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from flask import g

from fwdcap import abi
from fwdcap.errors import Invalid
from fwdcap.filters.shorthand import SHORTHANDS, compile_all
from fwdcap.store.export import Export, Format
from fwdcap.store.names import shorten
from fwdcap.store.scanplan import word
from webui.limits import bound
from webui.query import every, parameters, whole_number

KNOWN = ("Route", "Mode", "Snaplen", "Compression", "Format")
LATER = ("Filter",)
NEVER = ("FilterRE", "FilterBPFDecap")

MODES = {word(mode): mode for mode in abi.Mode}
LEVELS = {"fast": 1, "best": 9, **{str(level): level for level in range(1, 10)}}


def selecting(*own: str) -> tuple[Mapping[str, str], Export]:
    """The request's parameters, `own` ones and those that select, and the export they ask for.

    What the user is bound to is in it. Raises Invalid, Forbidden.
    """
    found = parameters((*own, *KNOWN), later=LATER, never=NEVER, several=tuple(SHORTHANDS))
    return found, bound(selection(found, every(SHORTHANDS)), g.user)


def selection(found: Mapping[str, str], filters: list[tuple[str, str]]) -> Export:
    """The export that these parameters ask for; `Export()` where they ask for everything."""
    return Export(
        format=_format(found.get("Format", "pcap")),
        filters=compile_all(filters),
        routes=_listed(found, "Route"),
        modes=frozenset(_mode(name) for name in _listed(found, "Mode")),
        snaplen=whole_number(found, "Snaplen", abi.PCAP_SNAPLEN) or 0,
        gzip=_level(found.get("Compression")),
    )


def _listed(found: Mapping[str, str], name: str) -> tuple[str, ...]:
    text = found.get(name)
    if text is None:
        return ()
    listed = tuple(part.strip() for part in text.split(","))
    if all(listed):
        return listed
    raise Invalid(f"{name} names nothing.", code="bad-value", hint="Name one, or leave it out.")


def _format(text: str) -> Format:
    for known in get_args(Format):
        if text.lower() == known:
            return known  # type: ignore[no-any-return]
    raise _no_such("Format", text, get_args(Format))


def _mode(text: str) -> abi.Mode:
    mode = MODES.get(text.lower())
    if mode is None:
        raise _no_such("Mode", text, tuple(MODES))
    return mode


def _level(text: str | None) -> int:
    if text is None:
        return 0
    level = LEVELS.get(text.lower())
    if level is None:
        raise _no_such("Compression", text, ("fast", "best", "1 to 9"))
    return level


def _no_such(name: str, text: str, known: tuple[str, ...]) -> Invalid:
    return Invalid(
        f"{name}={shorten(text)} is not known.",
        code="bad-value",
        hint=f"It is one of {', '.join(known)}.",
    )
