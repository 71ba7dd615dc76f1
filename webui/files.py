"""Rows of the Files page; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from fwdcap.store.stream import StreamInfo
from fwdcap.store.times import NS, local
from webui.words import duration, number, size

_MEANT = {"recording": "good", "complete": "idle"}


@dataclass(frozen=True)
class FileRow:
    """A stream as the list shows it; what moves is in `values` under `key`."""

    stream: str
    state: str
    meant: str
    started: str
    size_bytes: int
    problem: str
    routes: str
    key: str
    values: Mapping[str, str]
    states: Mapping[str, str]


def row(info: StreamInfo, now_ns: int, zone: tzinfo, running: str | None) -> FileRow:
    """The row of a stream; `running` names the one that is recorded now, None: not known."""
    shown = state(info, running)
    key = f"stream.{info.stream}"
    return FileRow(
        stream=info.stream,
        state=shown,
        meant=_MEANT.get(shown, "warn"),
        started=f"{local(info.started_ns, zone):%Y-%m-%d %H:%M:%S}",
        size_bytes=info.size_bytes,
        problem=info.problem,
        routes=", ".join(_route_names(info)),
        key=key,
        values={
            f"{key}.duration": duration(_ended_ns(info, shown, now_ns) - info.started_ns),
            f"{key}.packets": number(info.packets),
            f"{key}.size": size(info.size_bytes),
            f"{key}.lost": number(info.lost),
        },
        states={f"{key}.lost": "bad" if info.lost else "idle"},
    )


def matches(info: StreamInfo, query: str) -> bool:
    """Whether the list shows a stream when somebody looks for `query`."""
    words = (info.stream, *_route_names(info))
    return query.lower() in " ".join(words).lower()


def facts(info: StreamInfo, zone: tzinfo) -> tuple[tuple[str, str], ...]:
    """What a stream's page says beside its numbers, label and value."""
    snaplen = f"cut to {info.snaplen} bytes" if info.snaplen else "whole"
    return (
        ("Started", _moment(info.started_ns, zone)),
        ("Stopped", _moment(info.stopped_ns, zone)),
        ("First packet", _moment(info.first_ns, zone)),
        ("Last packet", _moment(info.last_ns, zone)),
        ("Routes", " · ".join(_route(row) for row in info.routes) or "not known"),
        ("Frames", snaplen),
        *((("Trimmed", "its beginning was removed to make room"),) if info.trimmed else ()),
    )


def _moment(ns: int | None, zone: tzinfo) -> str:
    return "—" if ns is None else f"{local(ns, zone):%Y-%m-%d %H:%M:%S}.{ns % NS:09}"


def _route_names(info: StreamInfo) -> tuple[str, ...]:
    return tuple(str(row["name"]) for row in info.routes if row.get("name"))


def _route(row: Mapping[str, Any]) -> str:
    modes = ", ".join(str(mode) for mode in row.get("modes", ())) or "forward only"
    off = "" if row.get("enabled", True) else ", disabled"
    return f"{row.get('name') or 'unnamed'} ({modes}{off})"


def state(info: StreamInfo, running: str | None) -> str:
    """What the stream says of itself, set right by what is known of the recorder.

    One that calls itself recording while another, or none, is recorded was cut
    short: its recorder ended with the machine or the disk.
    """
    if info.state != "recording" or running == info.stream:
        return info.state
    return "unfinished" if running is None else "interrupted"


def _ended_ns(info: StreamInfo, state: str, now_ns: int) -> int:
    if state == "recording":
        return now_ns
    return info.stopped_ns or info.last_ns or info.started_ns
