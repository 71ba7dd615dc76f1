"""What the stream.json of a new stream says: asked for, or following another. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fwdcap import abi
from fwdcap.capture.caps import Caps, Used
from fwdcap.errors import Invalid
from fwdcap.store.stream_json import StreamJson

MAX_SNAPLEN = abi.PCAP_SNAPLEN


@dataclass(frozen=True)
class Wish:
    """What is to be recorded; `snaplen` None is that of the settings. `row` is the
    schedule's, `after` the stream it goes on from, which with those before it `used` that
    much of the caps."""

    name: str
    snaplen: int | None = None
    caps: Caps = field(default_factory=Caps)
    row: str = ""
    after: str = ""
    used: Used = field(default_factory=Used)


@dataclass(frozen=True)
class Around:
    """What a new stream notes of the machine."""

    interface: str = ""
    routes: Sequence[Mapping[str, Any]] = ()
    link_since_ns: int | None = None

    @property
    def records(self) -> bool:
        """Does any route keep a copy?"""
        return any(route.get("enabled") and route.get("modes") for route in self.routes)


def fresh(wish: Wish, around: Around, stream: str, started_ns: int, **of: Any) -> StreamJson:
    """A capture that begins; `of` are further fields. Raises Invalid for a bad snaplen or cap."""
    caps = wish.caps.checked()
    return StreamJson(
        name=wish.name,
        stream=stream,
        state="recording",
        started_ns=started_ns,
        interface=around.interface,
        routes=tuple(around.routes),
        link_since_ns=around.link_since_ns,
        max_bytes=caps.max_bytes,
        max_packets=caps.max_packets,
        max_seconds=caps.max_seconds,
        used=wish.used.to_dict() if wish.after else {},
        continues=wish.after,
        schedule=wish.row,
        **of,
    )


def following(
    old: StreamJson, stream: str, started_ns: int, used: Used, baseline: Mapping[str, Any]
) -> StreamJson:
    """The stream that goes on where `old` was rolled."""
    return replace(
        old,
        stream=stream,
        started_ns=started_ns,
        used=used.to_dict(),
        continues=old.stream,
        baseline=baseline,
        losses=(),
        clock_steps=(),
        trimmed=False,
        original_first_ns=None,
        removed={},
    )


def check_snaplen(snaplen: int) -> int:
    """Itself. Raises Invalid."""
    if 0 <= snaplen <= MAX_SNAPLEN:
        return snaplen
    raise Invalid(
        f"A snaplen of {snaplen} bytes cannot be used.",
        code="bad-snaplen",
        hint=f"Use 1 to {MAX_SNAPLEN}, or 0 for whole packets.",
    )
