"""Parameters of a URL, taken strictly.

A parameter nobody knows is refused by name: a filter that is silently ignored
would hand out packets nobody asked for. Blanks around names and values are
taken off, because scripts leave them there; `rand` and `_` are what browsers
and old scripts add against caches.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from flask import request

from fwdcap.errors import Invalid
from fwdcap.store.names import shorten

IGNORED = frozenset({"rand", "_"})
END_OF_TIME_NS = (1 << 64) - 1

# The manual writes times as C does, with its suffix for an unsigned 64 bit integer.
_TIME = re.compile(r"([0-9]{1,20})(?:ULL)?", re.I | re.A)


def parameters(
    known: Collection[str] = (),
    later: Collection[str] = (),
    never: Collection[str] = (),
    several: Collection[str] = (),
) -> Mapping[str, str]:
    """The request's parameters by name; raises Invalid for any that is not among `known`.

    `later` names what the interface has but this version does not, `never` what
    other appliances have; `several` may stand there more than once (`every`
    gives them all).
    """
    found: dict[str, str] = {}
    for name, value in _pairs():
        if name in IGNORED or not (name or value):
            continue
        if name in later or name in never:
            raise not_supported(name, " by this version" if name in later else "")
        if name not in known and name not in several:
            raise Invalid(
                f"The parameter {shorten(name)} is not known here.",
                code="unknown-parameter",
                hint=f"Known: {', '.join((*known, *several))}."
                if known or several
                else "There are none.",
            )
        if found.setdefault(name, value) != value and name not in several:
            raise Invalid(
                f"The parameter {name} is given twice.",
                code="repeated-parameter",
                hint="Give it once.",
            )
    return found


def every(names: Collection[str]) -> list[tuple[str, str]]:
    """All parameters of these names, in the order of the request."""
    return [(name, value) for name, value in _pairs() if name in names]


def not_supported(name: str, when: str = " by this version") -> Invalid:
    """The refusal of a parameter that other appliances or later versions take."""
    return Invalid(
        f"The parameter {name} is not supported{when}.",
        code="not-supported",
        hint="Leave it out.",
    )


def required(found: Mapping[str, str], name: str) -> str:
    """The value of `name`; raises Invalid where it is missing or empty."""
    value = found.get(name, "")
    if not value:
        raise Invalid(f"The parameter {name} is missing.", code="missing-parameter", hint="Add it.")
    return value


def whole_number(found: Mapping[str, str], name: str, most: int) -> int | None:
    """The value of `name`, 0 to `most`; None where it is not given; raises Invalid."""
    text = found.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= most:
        return int(text)
    raise Invalid(
        f"{name}={shorten(text)} is not a whole number from 0 to {most}.",
        code="bad-number",
        hint="Correct it or leave it out.",
    )


def instant(found: Mapping[str, str], name: str, unit_ns: int = 1) -> int:
    """The time in `name`, counted in `unit_ns`, as UTC nanoseconds; raises Invalid."""
    text = required(found, name)
    digits = _TIME.fullmatch(text)
    ns = int(digits[1]) * unit_ns if digits else -1
    if 0 <= ns <= END_OF_TIME_NS:
        return ns
    raise Invalid(
        f"{name}={shorten(text)} is not a time.",
        code="bad-time",
        hint="Times are whole numbers since 1970 began, as 1434793007780373366 or "
        "1434793007780373366ULL.",
    )


def _pairs() -> Iterator[tuple[str, str]]:
    for name, value in request.args.items(multi=True):
        yield name.strip(), value.strip()
