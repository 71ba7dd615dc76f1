"""A time range across streams: those it touches, one behind the other.

One capture runs at a time, so streams follow each other and need no merging.
The result is a download like any other: a header and byte ranges of segments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fwdcap.errors import Invalid, NotFound
from fwdcap.store import pcap
from fwdcap.store.download import Download, Part, check_range, open_range
from fwdcap.store.stream import StreamInfo, list_streams


def streams_between(root: Path, start_ns: int, stop_ns: int) -> tuple[str, ...]:
    """The streams with a record in [start_ns, stop_ns) or around it, in order of time.

    Raises Invalid where the window is empty, NotFound where it lies outside all
    recordings.
    """
    check_range(start_ns, stop_ns)
    held = [info for info in list_streams(root) if info.first_ns is not None]
    touched = [info for info in held if _touches(info, start_ns, stop_ns)]
    if not touched:
        raise _outside(held, start_ns, stop_ns)
    touched.sort(key=lambda info: (info.first_ns, info.stream))
    return tuple(info.stream for info in touched)


def open_across(root: Path, start_ns: int, stop_ns: int) -> Download:
    """The records of all streams in [start_ns, stop_ns) (UTC) as one pcap.

    Raises as `streams_between` does, and Invalid where the streams cannot be in
    one pcap file.
    """
    names = streams_between(root, start_ns, stop_ns)
    found = [open_range(root, name, start_ns, stop_ns) for name in names]
    return found[0] if len(found) == 1 else _joined(found)


def _touches(info: StreamInfo, start_ns: int, stop_ns: int) -> bool:
    first_ns, last_ns = info.first_ns, info.last_ns
    return (
        first_ns is not None and last_ns is not None and first_ns < stop_ns and last_ns >= start_ns
    )


def _joined(found: Sequence[Download]) -> Download:
    heads = [each.parts[0] for each in found]
    if len({pcap.link_type_of(head.head) for head in heads}) > 1:
        raise Invalid(
            "The streams in this time range have different link types.",
            code="link-types-differ",
            hint="Ask for Format=pcapng, or for one stream at a time.",
        )
    body = (part for each in found for part in each.parts[1:])
    parts: tuple[Part, ...] = (heads[0], *body)
    marks = ",".join(f"{each.stream}:{each.mark}" for each in found)
    return Download(
        stream="",
        parts=parts,
        length=sum(part.length for part in parts),
        mark=hashlib.sha256(marks.encode()).hexdigest()[:32],
    )


def _outside(held: Sequence[StreamInfo], start_ns: int, stop_ns: int) -> NotFound:
    asked = f"No stream was recorded from {start_ns} to {stop_ns}"
    if not held:
        return NotFound(f"{asked}: the store holds no packet.", code="outside-recording")
    first_ns = min(info.first_ns or 0 for info in held)
    last_ns = max(info.last_ns or 0 for info in held)
    return NotFound(
        f"{asked}: all there is was recorded from {first_ns} to {last_ns}.",
        code="outside-recording",
        hint="Times are UTC nanoseconds; /plain/list says when each stream begins and ends.",
    )
