"""The plan that fwdcap-scan is given: which bytes to read, and the words that go with them.

fwdcap/native/scan/plan.h says what it looks like. Everything a pcapng file says
beside its packets is put into words here: which interfaces there are, what was
lost and when, what an export leaves out. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fwdcap import abi
from fwdcap.store.times import NS

FIRST_LINE = "fwdcap-scan-plan\t1"
_FIELD_BYTES = 4096  # PLAN_TEXT_BYTES
_MEANINGS = {
    abi.Mode.INGRESS: "as received",
    abi.Mode.INLINE: "with the addresses of both ends, on no wire like this",
    abi.Mode.EGRESS: "as sent",
}


@dataclass(frozen=True)
class Range:
    """Whole records of one segment: `length` bytes from `offset` on.

    `first_tag` is the number of the first one's entry in the tags beside it.
    """

    path: str
    tags_path: str | None
    offset: int
    length: int
    first_tag: int = 0


@dataclass(frozen=True)
class Interface:
    """A route in one mode; the counts are of the whole capture, None where not known."""

    route_id: int
    mode: abi.Mode
    name: str
    description: str = ""
    recorded: int | None = None
    lost: int | None = None

    @property
    def received(self) -> int | None:
        """Recorded and lost together."""
        if self.recorded is None or self.lost is None:
            return None
        return self.recorded + self.lost


@dataclass(frozen=True)
class Gap:
    """Records are missing from `ns` (UTC) on, as `text` says."""

    ns: int
    text: str


@dataclass(frozen=True)
class Chapter:
    """One stream of a plan; no `routes` means all of them."""

    stream: str
    ranges: tuple[Range, ...]
    routes: tuple[int, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    gaps: tuple[Gap, ...] = ()
    comments: tuple[str, ...] = ()
    hardware: str = ""
    system: str = ""
    application: str = ""


def encode(chapters: Iterable[Chapter]) -> bytes:
    """The plan as fwdcap-scan reads it."""
    lines = [FIRST_LINE, *(line for chapter in chapters for line in _lines(chapter)), "end"]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def interfaces(
    routes: Sequence[Mapping[str, Any]],
    counts: Mapping[tuple[int, abi.Mode], tuple[int, int]] | None = None,
) -> tuple[Interface, ...]:
    """One per route and mode that a route table names.

    Later rows of the same id add modes and decide the words. `counts` are
    records (recorded, lost) by route id and mode.
    """
    rows: dict[int, Mapping[str, Any]] = {}
    modes: dict[int, frozenset[abi.Mode]] = {}
    for row in routes:
        number = row.get("id")
        if isinstance(number, int) and 0 <= number < 1 << 32:
            rows[number] = row
            modes[number] = modes.get(number, frozenset()) | modes_of(row)
    return tuple(
        _interface(row, number, mode, (counts or {}).get((number, mode)))
        for number, row in rows.items()
        for mode in abi.Mode
        if mode in modes[number]
    )


def modes_of(row: Mapping[str, Any]) -> frozenset[abi.Mode]:
    """The modes in a row of a stored route table."""
    names = row.get("modes", ())
    return frozenset(mode for mode in abi.Mode if word(mode) in names)


def word(member: abi.Mode | abi.Direction | abi.Loss) -> str:
    """The name of an enum's member as users meet it, `to-server`."""
    return str(member.name).lower().replace("_", "-")


def moment(ns: int) -> str:
    """A time to the nanosecond, `2015-06-20 11:28:56.000000001 UTC`."""
    try:
        second = datetime.fromtimestamp(ns // NS, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ns} ns"
    return f"{second:%Y-%m-%d %H:%M:%S}.{ns % NS:09} UTC"


def _interface(
    row: Mapping[str, Any], number: int, mode: abi.Mode, counts: tuple[int, int] | None
) -> Interface:
    name = f"{row.get('name') or f'route-{number}'}/{word(mode)}"
    recorded, lost = counts or (None, None)
    ends = f"{row.get('client')} to {row.get('server')} by {row.get('capture')}"
    description = f"{ends}, {_MEANINGS[mode]}; outbound is to the server, inbound to the client"
    return Interface(number, mode, name, description, recorded, lost)


def _lines(chapter: Chapter) -> Iterator[str]:
    yield _line("stream", chapter.stream)
    for kind, text in (
        ("hardware", chapter.hardware),
        ("os", chapter.system),
        ("application", chapter.application),
        *(("comment", comment) for comment in chapter.comments),
    ):
        if text:
            yield _line(kind, text)
    for number in sorted(set(chapter.routes)):
        yield _line("select", number)
    for each in chapter.interfaces:
        counts = (_known(each.received), _known(each.lost))
        yield _line(
            "interface", each.route_id, word(each.mode), *counts, each.name, each.description
        )
    for gap in sorted(chapter.gaps, key=lambda gap: gap.ns):
        yield _line("gap", gap.ns, gap.text)
    for part in chapter.ranges:
        yield f"segment\t{part.offset}\t{part.length}\t{part.path}"
        if part.tags_path is not None:
            yield f"tags\t{part.first_tag}\t{part.tags_path}"


def _known(count: int | None) -> str:
    return "-" if count is None else str(count)


def _line(*fields: str | int) -> str:
    return "\t".join(_plain(str(field)) for field in fields)


def _plain(text: str) -> str:
    """`text` as a field may be: one line, no control characters, not too long."""
    one_line = "".join(c if c.isprintable() else " " for c in text)
    return one_line.encode("utf-8", "replace")[:_FIELD_BYTES].decode("utf-8", "ignore")
