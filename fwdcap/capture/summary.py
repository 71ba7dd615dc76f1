"""What is shown of a capture, running or ended: bodies from values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fwdcap.capture import counters
from fwdcap.capture.counters import Counters
from fwdcap.store.stream_json import StreamJson

Body = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a start or a stop; `message` is the sentence for people, `summary` the
    numbers of a stream that has ended."""

    name: str
    stream: str
    message: str
    time_ns: int
    summary: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        head = {"name": self.name, "stream": self.stream, "message": self.message}
        tail = {"summary": dict(self.summary)} if self.summary is not None else {}
        return {**head, "time_ns": self.time_ns, **tail}


def capture(
    words: StreamJson | None,
    numbers: Counters,
    lost: Sequence[Mapping[str, Any]],
    *,
    active: bool,
    rates: tuple[int, int] = (0, 0),
    recorder: str = "none",
    message: str = "",
) -> Body:
    """The `capture` object of GET /status; `lost` are the episodes of losses."""
    pending_bytes = numbers.emitted_bytes - numbers.committed_bytes if active else 0
    return {
        "active": active,
        "name": words.name if words else None,
        "stream": words.stream if words else None,
        "started_ns": words.started_ns if words else None,
        "stopped_ns": words.stopped_ns if words else None,
        "schedule": (words.schedule or None) if words else None,
        "caps": _caps(words),
        "snaplen": words.snaplen if words else None,
        "continues": (words.continues or None) if words else None,
        "ended": (words.ended or None) if words else None,
        "received_packets": numbers.received_packets,
        "error_packets": numbers.error_packets,
        "emitted_records": numbers.emitted_records,
        "emitted_bytes": numbers.emitted_bytes,
        "committed_records": numbers.committed_records,
        "committed_bytes": numbers.committed_bytes,
        "pending_bytes": max(0, pending_bytes),
        "lost_records": numbers.lost_records,
        "lost": counters.losses(numbers.lost),
        "losses": [dict(episode) for episode in lost],
        "bps": rates[0],
        "pps": rates[1],
        "recorder": recorder,
        "message": message,
    }


def final(words: StreamJson, numbers: Counters) -> Body:
    """What a stop answers beside its sentence."""
    return {
        "packets": numbers.committed_records,
        "bytes": numbers.committed_bytes,
        "lost_records": numbers.lost_records,
        "lost": counters.losses(numbers.lost),
        "losses": [dict(episode) for episode in words.losses],
        "seconds": round(((words.stopped_ns or words.started_ns) - words.started_ns) / 1e9, 3),
        "ended": words.ended,
        "message": words.message,
    }


def _caps(words: StreamJson | None) -> Body:
    if words is None:
        return {}
    caps = {name: getattr(words, name) for name in ("max_bytes", "max_packets", "max_seconds")}
    return {name: value for name, value in caps.items() if value is not None}
