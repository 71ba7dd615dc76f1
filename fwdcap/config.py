"""The one table of settings: fwdcap.toml, and `--set table.key=value` over it.

Every key is optional and has its default here. An unknown key is refused rather
than ignored, since a setting that silently does nothing is found out too late.
All that is wrong is reported at once, each with the file (or the flag), the
table, the key and what it must be: a field's description ends that sentence.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
import zoneinfo
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
)

from fwdcap import abi, amounts
from fwdcap.errors import Forbidden, Invalid, NotFound
from fwdcap.users.roles import Role

MIN_RING_BYTES = 128 * 1024  # a power of two that holds the largest frame and its head
MAX_RING_BYTES = 2**31  # max_entries of a ring buffer is 32 bits wide
AUTO_RING_BYTES = 2**29  # beyond this, memory is better spent on the page cache
MIN_SEGMENT_BYTES = 1_000_000

_INTERFACE = re.compile(r"[^\s/:]{1,15}")  # IFNAMSIZ, dev_valid_name()
_ENDPOINT = re.compile(r"http://[^\s/]+")
_PAM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
_LISTEN = re.compile(r"fd:\d{1,4}|(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")


def _interface(name: str) -> str:
    if not _INTERFACE.fullmatch(name) or name in (".", ".."):
        raise ValueError
    return name


def _listen(address: str) -> str:
    match = _LISTEN.fullmatch(address)
    if match is None or int(match[1] or 0) > 65535:
        raise ValueError
    return address


def _zone(name: str) -> str:
    if name != "UTC":  # known even where tzdata is not installed
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, OSError):
            raise ValueError from None
    return name


def _endpoint(address: str) -> str:
    if address and not _ENDPOINT.fullmatch(address):
        raise ValueError
    return address


def _pam(name: str) -> str:
    if name and not _PAM.fullmatch(name):
        raise ValueError
    return name


def _header(name: str) -> str:
    if name and not _HEADER.fullmatch(name):
        raise ValueError
    return name


def _network(address: str) -> str:
    return str(ip_network(address, strict=False))


def _ring_count(count: int | Literal["auto"]) -> int | Literal["auto"]:
    if count != "auto" and not 1 <= count <= abi.MAX_RINGS:
        raise ValueError
    return count


def _ring_bytes(size: int | Literal["auto"]) -> int | Literal["auto"]:
    if size == "auto":
        return size
    if not MIN_RING_BYTES <= size <= MAX_RING_BYTES or size & (size - 1):
        raise ValueError
    return size


def _roll(text: str) -> str:
    if text and not _TIME.fullmatch(text):
        raise ValueError
    return text


def _path(value: object) -> object:
    if value == "":  # else it would be the working directory
        raise ValueError
    return value


def _size(value: object) -> object:
    try:
        return value if isinstance(value, amounts.Size) else amounts.size(value, share=True)
    except Invalid:
        raise ValueError from None


def _limit(value: object) -> object:
    found = _size(value)
    if found in (amounts.Size(0), amounts.Size(percent=0.0)):  # it would delete everything
        raise ValueError
    return found


def _age_ns(value: object) -> object:
    try:
        return amounts.age_ns(value)
    except Invalid:
        raise ValueError from None


_Path = Annotated[Path, Strict(False), BeforeValidator(_path)]


# What a request that does not come by https may reach.
Clear = Literal["all", "api", "none"]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Interface(_Table):
    """[interface]: where packets are relayed; without a name none are."""

    name: Annotated[str, AfterValidator(_interface)] | None = Field(
        default=None, description="the name of a network interface"
    )
    xdp: Literal["auto", "native", "generic"] = Field(
        default="auto", description='"auto", "native" or "generic"'
    )
    unmatched: Literal["pass", "drop"] = Field(default="pass", description='"pass" or "drop"')


class Routes(_Table):
    """[routes]: where the routes are written."""

    file: _Path | None = Field(default=None, description="the path of a routes.toml")


class Store(_Table):
    """[store]: where streams are kept, and for how long; snaplen 0 records whole frames.

    A share of `max_bytes` is of store and archive together, of `min_free` of
    each file system, of `archive_above` of the store's.
    """

    path: _Path = Field(default=Path("/var/lib/fwdcap"), description="the path of a directory")
    segment_bytes: int = Field(
        default=1_000_000_000,
        ge=MIN_SEGMENT_BYTES,
        description=f"a number of bytes from {MIN_SEGMENT_BYTES}",
    )
    snaplen: int = Field(
        default=0,
        ge=0,
        le=abi.MAX_FRAME,
        description=f"0 (whole frames) or a number of bytes up to {abi.MAX_FRAME}",
    )
    max_bytes: Annotated[amounts.Size, BeforeValidator(_limit)] | None = Field(
        default=None, description=f"{amounts.SHARES}, and not 0"
    )
    max_age: Annotated[int, BeforeValidator(_age_ns)] | None = Field(
        default=None, description=amounts.AGES
    )
    min_free: Annotated[amounts.Size, BeforeValidator(_size)] | None = Field(
        default=None, description=amounts.SHARES
    )
    archive: _Path | None = Field(default=None, description="the path of a directory")
    archive_above: Annotated[amounts.Size, BeforeValidator(_size)] = Field(
        default=amounts.Size(percent=50.0), description=amounts.SHARES
    )


class Ring(_Table):
    """[ring]: the buffers between the data path and the recorder; `bytes` is of each."""

    bytes: Annotated[int | Literal["auto"], AfterValidator(_ring_bytes)] = Field(
        default="auto",
        description=f'"auto" or a power of two from {MIN_RING_BYTES} to {MAX_RING_BYTES}',
    )
    count: Annotated[int | Literal["auto"], AfterValidator(_ring_count)] = Field(
        default="auto", description=f'"auto" or a number from 1 to {abi.MAX_RINGS}'
    )


class Web(_Table):
    """[web]: where pages and the HTTP API are served."""

    listen: Annotated[str, AfterValidator(_listen)] = Field(
        default="127.0.0.1:8080", description='HOST:PORT (such as "127.0.0.1:8080") or fd:NUMBER'
    )
    tls: Literal["auto", "on", "off"] = Field(
        default="auto", description='"auto" (https unless on loopback), "on" or "off"'
    )
    certificate: _Path | None = Field(default=None, description="the path of a PEM file")
    key: _Path | None = Field(default=None, description="the path of a PEM file")
    plain_http: Literal["off", "api"] = Field(
        default="off", description='"off" or "api" (/sysmaster, /plain and /pcap in clear)'
    )


class Control(_Table):
    """[control]: where the daemon is reached."""

    socket: _Path = Field(
        default=Path("/run/fwdcap/control.sock"), description="the path of a socket"
    )


class Time(_Table):
    """[time]: the zone of every text and of stream names."""

    zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description='a time zone (such as "UTC" or "Europe/Berlin")'
    )


class Users(_Table):
    """[users]: who the web process and the recorder run as, and who may log in.

    `metadata` is asked for the first password; `pam` names a PAM service. A login
    that `proxy_header` names counts from the addresses in `proxy_from` alone. The
    roles of both follow from `groups`, which a proxy sends in `proxy_groups`.
    """

    web: str = Field(default="fwdcap-web", min_length=1, description="the name of a user")
    recorder: str = Field(default="fwdcap", min_length=1, description="the name of a user")
    metadata: Annotated[str, AfterValidator(_endpoint)] = Field(
        default="http://169.254.169.254",
        description='an address such as "http://169.254.169.254", or "" for none',
    )
    pam: Annotated[str, AfterValidator(_pam)] = Field(
        default="", description='the name of a PAM service such as "fwdcap", or "" for none'
    )
    proxy_header: Annotated[str, AfterValidator(_header)] = Field(
        default="", description='the name of a header such as "X-Remote-User", or "" for none'
    )
    proxy_groups: Annotated[str, AfterValidator(_header)] = Field(
        default="X-Remote-Groups", description='the name of a header such as "X-Remote-Groups"'
    )
    proxy_from: list[Annotated[str, AfterValidator(_network)]] = Field(
        default_factory=list, description='a list of addresses such as ["10.0.0.5"]'
    )
    groups: dict[str, Annotated[Role, Strict(False)]] = Field(
        default_factory=dict, description='roles by group, such as { netops = "operator" }'
    )


class Capture(_Table):
    """[capture]: when captures that are always on begin a new stream, in the zone's time."""

    roll: Annotated[str, AfterValidator(_roll)] = Field(
        default="00:00", description='a time of day such as "00:00", or "" for never'
    )


class Schedule(_Table):
    """[[schedule]]: a row of captures that begin by themselves. What it means is read later."""

    name: str = Field(description="the name of its captures")
    enabled: bool = Field(default=True, description="true or false")
    always: bool = Field(default=False, description="true for 24/7, or false")
    days: str | list[str] | None = Field(
        default=None, description='weekdays such as ["mon", "tue"] or "mon-fri"'
    )
    start: str | None = Field(default=None, description='a time of day such as "08:00"')
    stop: str | None = Field(default=None, description='a time of day such as "18:00"')


class Settings(_Table):
    """All tables; every one has its defaults."""

    interface: Interface = Interface()
    routes: Routes = Routes()
    store: Store = Store()
    ring: Ring = Ring()
    web: Web = Web()
    control: Control = Control()
    time: Time = Time()
    users: Users = Users()
    capture: Capture = Capture()
    schedule: list[Schedule] = Field(default_factory=list)


_TABLES: dict[str, type[_Table]] = {
    table.__name__.lower(): table
    for table in (Interface, Routes, Store, Ring, Web, Control, Time, Users, Capture, Schedule)
}
_ROWS = "schedule"  # the one that is a list of tables


def load(path: Path | None, overrides: Mapping[str, str]) -> Settings:
    """The settings of a file (None: defaults), with `table.key` → text put over them.

    A relative path in the file is relative to the file, in an override to the
    working directory. Raises NotFound, Forbidden or Invalid.
    """
    document = {} if path is None else _read(path)
    tables = {
        name: _absolute(name, table, path.parent) if path and isinstance(table, dict) else table
        for name, table in document.items()
    }
    for name, text in overrides.items():
        table, key = _split(name)
        if table == _ROWS:
            raise _no_override(name)
        values = tables.setdefault(table, {})
        if isinstance(values, dict):
            value = {key: _value(table, key, text)}
            tables[table] = values | _absolute(table, value, Path())
    try:
        return Settings.model_validate(tables)
    except ValidationError as error:
        raise _translate(error, str(path), overrides) from None


def ring_bytes(settings: Settings, memory_bytes: int) -> int:
    """The size of each ring: a power of two, and thus a multiple of the page size.

    `auto` is the largest with which all rings together take at most 1/16 of the
    machine's memory, within bounds. Raises Invalid where what is asked for is
    more than half of it.
    """
    asked, count = settings.ring.bytes, ring_count(settings)
    if asked == "auto":
        largest = 1 << max((memory_bytes // 16 // count).bit_length() - 1, 0)
        return max(MIN_RING_BYTES, min(largest, AUTO_RING_BYTES))
    if asked * count > memory_bytes // 2:
        times = f" times {count}" if count > 1 else ""
        raise Invalid(
            f"[ring] bytes is {asked}{times}, more than half of this machine's {memory_bytes} "
            "bytes of memory.",
            code="config-ring-too-large",
            hint='Set a smaller power of two, or "auto".',
        )
    return asked


def ring_count(settings: Settings) -> int:
    """How many rings; `auto` is one (docs/decisions/0009 has the figures)."""
    return 1 if settings.ring.count == "auto" else settings.ring.count


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise NotFound(
            f"There is no settings file {path}.",
            code="config-missing",
            hint="Write one, or leave --config out to use the defaults.",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(
            f"{path} is not valid TOML: {error}.",
            code="config-syntax",
            hint="Mend that place; text values stand in double quotes.",
        ) from None
    except OSError as error:
        kind = Forbidden if isinstance(error, PermissionError) else Invalid
        raise kind(
            f"The settings file {path} cannot be read: {error.strerror}.",
            code="config-unreadable",
            hint="Make it a file that fwdcap may read.",
        ) from None


def _no_override(name: str) -> Invalid:
    return Invalid(
        f"--set {name}: rows of the schedule cannot be set by a flag.",
        code="config-unknown-key",
        hint="Write [[schedule]] in the settings file, or use `fwdcap schedule add`.",
    )


def _split(name: str) -> tuple[str, str]:
    table, dot, key = name.partition(".")
    if not (table and dot and key):
        raise Invalid(
            f"--set {name}: this is not table.key.",
            code="config-unknown-key",
            hint="Write it like --set store.snaplen=96.",
        )
    return table, key


def _kinds(table: str, key: str) -> set[object]:
    """The types a key takes; nothing for a key that does not exist."""
    field = _TABLES[table].model_fields.get(key) if table in _TABLES else None
    return set() if field is None else set(_members(field.annotation))


def _members(annotation: object) -> Iterator[object]:
    """The types that a union, or one of its annotated members, is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _members(part)


def _absolute(table: str, values: dict[str, Any], base: Path) -> dict[str, Any]:
    """`values` with every relative path made absolute."""
    return {
        key: str(base.absolute() / value)
        if Path in _kinds(table, key) and isinstance(value, str) and value
        else value
        for key, value in values.items()
    }


def _value(table: str, key: str, text: str) -> object:
    """What an override's text stands for: a TOML value, else the text itself.

    A key that takes only text gets text: the interface `7` is a name.
    """
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value: object = document.pop("value")
    kinds = _kinds(table, key)
    nested = any(get_origin(kind) is type(value) for kind in kinds)
    taken = not document and (isinstance(value, str) or nested or int in kinds)
    return value if taken else text


def _translate(error: ValidationError, source: str, overrides: Mapping[str, str]) -> Invalid:
    """One refusal that tells all that is wrong, without the validator's own words."""
    found: dict[tuple[str, ...], Invalid] = {}
    for detail in error.errors(include_url=False, include_context=False):
        where = _place(detail["loc"])
        by = f"--set {'.'.join(where)}" if ".".join(where) in overrides else ""
        if detail["type"] == "extra_forbidden":
            found.setdefault(where, _unknown(where, detail["input"], by or source, overrides))
        else:
            found.setdefault(where, _wrong(where, detail["input"], by or source))
    refusals = list(found.values())
    hints = dict.fromkeys(refusal.hint for refusal in refusals)
    return Invalid(
        " ".join(refusal.message for refusal in refusals),
        code=refusals[0].code,
        hint=" ".join(hints),
    )


def _place(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Table and key of a mistake; which row of a list it is in is left out."""
    return tuple(str(part) for part in location if isinstance(part, str))[:2]


def _unknown(
    where: tuple[str, ...], value: object, source: str, overrides: Mapping[str, str]
) -> Invalid:
    name = where[-1]
    if len(where) == 2:
        message = f"{source}: unknown key {name} in table [{where[0]}]."
        hint = _nearest(name, list(_TABLES[where[0]].model_fields), f"Keys of [{where[0]}] are")
    elif isinstance(value, dict):
        by = next((flag for flag in overrides if flag.startswith(f"{name}.")), None)
        message = f"{f'--set {by}' if by else source}: unknown table [{name}]."
        hint = _nearest(name, list(_TABLES), "Tables are")
    else:
        message = f"{source}: unknown key {name} outside any table."
        homes = [table for table, model in _TABLES.items() if name in model.model_fields]
        hint = f"It belongs to [{homes[0]}]." if homes else f"Tables are {', '.join(_TABLES)}."
    return Invalid(message, code="config-unknown-key", hint=hint)


def _nearest(name: str, known: list[str], listed: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    return f"{meant}{listed} {', '.join(known)}."


def _wrong(where: tuple[str, ...], value: object, source: str) -> Invalid:
    head = f"[[{where[0]}]]" if where[0] == _ROWS else f"[{where[0]}]"
    if len(where) == 1:
        kind = "a list of tables" if where[0] == _ROWS else "a table"
        return Invalid(
            f"{source}: {where[0]} must be {kind}.",
            code="config-invalid-value",
            hint=f"Begin it with {head}.",
        )
    table, key = where
    field = _TABLES[table].model_fields[key]
    if field.is_required() and isinstance(value, dict):  # the row itself: the key is missing
        return Invalid(
            f"{source}: a row of {head} has no {key}.",
            code="config-invalid-value",
            hint=f"Add {key}, {field.description}.",
        )
    shown = json.dumps(value, default=str, ensure_ascii=False)
    return Invalid(
        f"{source}: {head} {key} is {shown}, but must be {field.description}.",
        code="config-invalid-value",
        hint=f"Change {key}, or leave it out for its default.",
    )
