"""Parameters of a URL, taken strictly.

A parameter nobody knows is refused by name: a filter that is silently ignored
would hand out packets nobody asked for. Blanks around names and values are
taken off, because scripts leave them there; `rand` and `_` are what browsers
and old scripts add against caches.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flask import request

from fwdcap.errors import Invalid
from fwdcap.store.names import shorten

IGNORED = frozenset({"rand", "_"})


def parameters(known: Collection[str] = (), later: Collection[str] = ()) -> Mapping[str, str]:
    """The request's parameters by name; raises Invalid for any that is not among `known`.

    `later` names what the interface has but this version does not.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in request.args.items(multi=True):
        name, value = raw_name.strip(), raw_value.strip()
        if name in IGNORED or not (name or value):
            continue
        if name in later:
            raise not_supported(name)
        if name not in known:
            raise Invalid(
                f"The parameter {shorten(name)} is not known here.",
                code="unknown-parameter",
                hint=f"Known: {', '.join(known)}." if known else "There are none.",
            )
        if found.setdefault(name, value) != value:
            raise Invalid(
                f"The parameter {name} is given twice.",
                code="repeated-parameter",
                hint="Give it once.",
            )
    return found


def not_supported(name: str) -> Invalid:
    """The refusal of a parameter that a later version will take."""
    return Invalid(
        f"The parameter {name} is not supported by this version.",
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
