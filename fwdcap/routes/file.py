"""Reads routes.toml.

    [[route]]
    name    = "orders-db"
    client  = "10.0.1.20"
    capture = "10.0.1.166"
    server  = "10.0.2.41"
    modes   = ["inline"]        # any of "ingress", "inline", "egress"; [] forwards only
    # egress = "10.0.1.167"     # default: capture
    # enabled = true
    # ttl = "keep"              # or "decrement"

Whatever is wrong is refused with the file, the route and the key. Whether the
addresses suit this machine is check.py's question.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path

from fwdcap.errors import Forbidden, Invalid, NotFound
from fwdcap.routes.model import Mode, Route, Ttl

_REQUIRED = ("name", "client", "capture", "server", "modes")
_KEYS = (*_REQUIRED, "egress", "enabled", "ttl")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MODES = {mode.name.lower(): mode for mode in Mode}
_TTLS: Mapping[str, Ttl] = {"keep": "keep", "decrement": "decrement"}


def read(path: Path) -> tuple[Route, ...]:
    """The routes of a file, in its order.

    Raises NotFound, Forbidden or Invalid, naming file, route and key.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise NotFound(
            f"There is no routes file {path}.",
            code="routes-missing",
            hint="Write one (routes.example.toml shows how) or name another in [routes] file.",
        ) from None
    except UnicodeDecodeError as error:
        raise _bad_syntax(str(path), f"byte {error.start} is not UTF-8") from None
    except OSError as error:
        kind = Forbidden if isinstance(error, PermissionError) else Invalid
        raise kind(
            f"The routes file {path} cannot be read: {error.strerror}.",
            code="routes-unreadable",
            hint="Make it a file that fwdcap may read.",
        ) from None
    return parse(text, str(path))


def parse(text: str, source: str) -> tuple[Route, ...]:
    """The routes in the text of a routes.toml; `source` names it in refusals."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad_syntax(source, str(error)) from None
    _refuse_unknown(document, ("route",), source)
    tables = document.get("route", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise Invalid(
            f"{source}: route is not a list of tables.",
            code="routes-syntax",
            hint="Begin every route with [[route]], in double brackets.",
        )
    routes: dict[str, Route] = {}
    for number, table in enumerate(tables, 1):
        route = from_table(table, source, number)
        if route.name in routes:
            raise Invalid(
                f"{source}: route {route.name}: another route before it has the same name.",
                code="route-duplicate-name",
                hint="Give one of them another name.",
            )
        routes[route.name] = route
    return tuple(routes.values())


def from_table(table: Mapping[str, object], source: str, number: int = 1) -> Route:
    """The route that one [[route]] table describes, the `number`-th of its file."""
    name = table.get("name")
    where = f"{source}: route {name if isinstance(name, str) and name else f'number {number}'}"
    _refuse_unknown(table, _KEYS, where)
    for key in _REQUIRED:
        if key not in table:
            raise _missing(key, where)
    return Route(
        name=_name(table["name"], where),
        client=_address("client", table["client"], where),
        capture=_address("capture", table["capture"], where),
        server=_address("server", table["server"], where),
        modes=_modes(table["modes"], where),
        egress=_address("egress", table["egress"], where) if "egress" in table else None,
        enabled=_enabled(table.get("enabled", True), where),
        ttl=_ttl(table.get("ttl", "keep"), where),
    )


def _bad_syntax(source: str, what: str) -> Invalid:
    return Invalid(
        f"{source} is not valid TOML: {what}.",
        code="routes-syntax",
        hint="Mend that place; text values stand in double quotes.",
    )


def _refuse_unknown(table: Mapping[str, object], known: Iterable[str], where: str) -> None:
    for key in table:
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        what = "Keys of a route are" if "name" in known else "The file knows only"
        raise Invalid(
            f"{where}: unknown key {key}.",
            code="route-unknown-key",
            hint=f"{meant}{what} {', '.join(known)}.",
        )


def _missing(key: str, where: str) -> Invalid:
    hint = f'Add {key} = "…".'
    if key == "modes":
        hint = 'Add modes = ["inline"], or modes = [] to forward without recording.'
    return Invalid(f"{where}: key {key} is missing.", code="route-missing-key", hint=hint)


def _wrong(key: str, value: object, must: str, where: str, hint: str = "") -> Invalid:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Invalid(
        f"{where}: {key} is {shown}, but must be {must}.",
        code=f"route-bad-{key}",
        hint=hint or f"Mend {key}.",
    )


def _name(value: object, where: str) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise _wrong(
        "name",
        value,
        "text of 1 to 64 characters",
        where,
        "Letters, digits, underscore, dot and dash may be used.",
    )


def _address(key: str, value: object, where: str) -> IPv4Address:
    must, hint = "an IPv4 address", f'Write it like {key} = "10.0.1.20".'
    if not isinstance(value, str):
        raise _wrong(key, value, must, where, hint)
    try:
        return IPv4Address(value)
    except AddressValueError:
        pass
    if _is_ipv6(value):
        raise Invalid(
            f"{where}: {key} {value}: IPv6 routes are not supported by this version.",
            code="route-ipv6",
            hint=f"Use the IPv4 address as {key}.",
        )
    if key == "client" and (value == "any" or "/" in value):
        hint = "Routes for any client are not supported by this version: write one route a client."
    raise _wrong(key, value, must, where, hint)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text.partition("/")[0])
    except AddressValueError:
        return False
    return True


def _modes(value: object, where: str) -> frozenset[Mode]:
    known = ", ".join(f'"{name}"' for name in _MODES)
    if not isinstance(value, list):
        raise _wrong("modes", value, "a list", where, f'Write it like ["inline"]; known: {known}.')
    for item in value:
        if not isinstance(item, str) or item not in _MODES:
            raise Invalid(
                f"{where}: modes contains {item!r}, which is not a mode.",
                code="route-bad-modes",
                hint=f"Modes are {known}.",
            )
    if len(set(value)) < len(value):
        raise Invalid(
            f"{where}: modes names a mode twice.",
            code="route-bad-modes",
            hint=f"Name each at most once: {known}.",
        )
    return frozenset(_MODES[item] for item in value)


def _enabled(value: object, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong("enabled", value, "true or false (without quotes)", where)


def _ttl(value: object, where: str) -> Ttl:
    if isinstance(value, str) and value in _TTLS:
        return _TTLS[value]
    raise _wrong("ttl", value, '"keep" or "decrement"', where)
