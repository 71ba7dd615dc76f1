"""Rows of the Files page; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from fwdcap.store.stream import StreamInfo
from fwdcap.store.times import local
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
    key: str
    values: Mapping[str, str]
    states: Mapping[str, str]


def row(info: StreamInfo, now_ns: int, zone: tzinfo, running: str | None) -> FileRow:
    """The row of a stream; `running` names the one that is recorded now, None: not known."""
    state = _state(info, running)
    key = f"stream.{info.stream}"
    return FileRow(
        stream=info.stream,
        state=state,
        meant=_MEANT.get(state, "warn"),
        started=f"{local(info.started_ns, zone):%Y-%m-%d %H:%M:%S}",
        size_bytes=info.size_bytes,
        problem=info.problem,
        key=key,
        values={
            f"{key}.duration": duration(_ended_ns(info, state, now_ns) - info.started_ns),
            f"{key}.packets": number(info.packets),
            f"{key}.size": size(info.size_bytes),
            f"{key}.lost": number(info.lost),
        },
        states={f"{key}.lost": "bad" if info.lost else "idle"},
    )


def _state(info: StreamInfo, running: str | None) -> str:
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
