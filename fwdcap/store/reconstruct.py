"""The words and numbers of a stream whose stream.json or checkpoint is lost.

From the other one, from the directory's name and from the packets, in this
order of trust.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fwdcap import abi
from fwdcap.store import checkpoint, pcap
from fwdcap.store.index_files import ENTRY_BYTES
from fwdcap.store.indexer import Totals, head_time
from fwdcap.store.segments import SUFFIX
from fwdcap.store.stream_json import State, StreamJson
from fwdcap.store.views import Entry

_NAME = re.compile(r"(?P<name>.+)_(?P<date>\d{8}_\d{4})(-\d+)?")


@dataclass(frozen=True)
class Start:
    """How a stream begins: what retention removed before its first segment, and the time its
    seconds count from (0: the first record's). `regrid`: its index counts from another."""

    before: Totals
    first_ns: int
    regrid: bool


def start(stem: Path, number: int, said: abi.Checkpoint | None, words: StreamJson | None) -> Start:
    """How the stream begins whose first segment is `number`, its files beginning with `stem`.

    Raises OSError.
    """
    first_ns = head_time(_bytes(stem.with_suffix(SUFFIX), pcap.FILE_HEADER_BYTES, 16)) or 0
    entry = _first_entry(stem)
    sound = entry is not None and entry.offset == 24 and entry.first_ns == first_ns != 0
    before, original_ns = Totals(), said.first_ns if said is not None else 0
    if number and words is not None:
        original_ns = original_ns or words.original_first_ns or 0
        if words.removed.get("segments") == number:
            before = Totals(words.removed["packets"], words.removed["bytes"])
    if number and entry is not None and sound:
        before = Totals(entry.packets, entry.bytes, entry.previous_ns)
    if original_ns and (number or original_ns == first_ns):
        return Start(before, original_ns, regrid=False)
    odd = entry is not None and not sound
    return Start(before, 0, regrid=bool(original_ns or number or odd))


def last_report(
    said: abi.Checkpoint | None,
    totals: Totals,
    first_ns: int,
    segment: int,
    counts: Sequence[int],
) -> abi.Checkpoint:
    """The final checkpoint; `counts` are the last segment's bytes, tags and index entries.

    What the recorder counted as lost is kept; packets it had reported and that
    are not there any more are added, as lost to the disk.
    """
    last = abi.Checkpoint.from_buffer_copy(bytes(said)) if said is not None else abi.Checkpoint()
    last.generation += 1
    last.state, last.error = abi.RecorderState.COMPLETE, 0
    last.segment = segment
    last.segment_bytes, last.segment_tags, last.segment_index = counts
    last.packets, last.bytes = totals.packets, totals.bytes
    last.frame_bytes = totals.bytes - totals.packets * pcap.RECORD_HEADER_BYTES
    last.first_ns, last.last_ns = (first_ns, totals.last_ns) if totals.packets else (0, 0)
    last.lost_records[abi.Loss.DISK] += missing(said, totals)
    return last


def missing(said: abi.Checkpoint | None, totals: Totals) -> int:
    """Packets that were reported and are gone."""
    return max(0, said.packets - totals.packets) if said is not None else 0


def checkpoint_file(said: abi.Checkpoint | None, value: abi.Checkpoint) -> bytes:
    """The content of the file: `value` in its slot, and in the other what was valid before."""
    slots = [bytes(abi.CHECKPOINT_SLOT)] * 2
    for each in (said, value):
        if each is not None:
            slots[each.generation % 2] = checkpoint.slot_bytes(each)
    return b"".join(slots)


def words(
    directory: Path,
    known: StreamJson | None,
    state: State,
    report: abi.Checkpoint,
    removed: Mapping[str, int],
    lost_now: int,
    note: str,
) -> StreamJson:
    """The stream.json of the ended stream, its words where they are known.

    `removed` is what retention took from its beginning. `lost_now` packets are
    counted where final counters were written before.
    """
    stopped_ns = report.last_ns or None
    if known is None:
        match = _NAME.fullmatch(directory.name)
        name = match["name"] if match else directory.name
        started_ns = report.first_ns or _started(match) or directory.stat().st_mtime_ns
        return StreamJson(
            name,
            directory.name,
            state,
            started_ns,
            stopped_ns or started_ns,
            note=note,
            trimmed=bool(removed),
            original_first_ns=report.first_ns if removed else None,
            removed=removed,
        )
    counters = dict(known.counters)
    if lost_now and isinstance(counters.get("lost"), dict):
        lost = dict(counters["lost"])
        lost["disk"] = lost.get("disk", 0) + lost_now
        counters["lost"] = lost
    return replace(
        known,
        stream=directory.name,
        state=state,
        stopped_ns=known.stopped_ns or stopped_ns or known.started_ns,
        counters=counters,
        note=note or known.note,
    )


def _started(match: re.Match[str] | None) -> int | None:
    """The minute in the directory's name, taken as UTC: its zone is not known."""
    if match is None:
        return None
    try:
        minute = datetime.strptime(match["date"], "%Y%m%d_%H%M").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(minute.timestamp()) * abi.INDEX_NS


def _first_entry(stem: Path) -> Entry | None:
    raw = _bytes(stem.with_suffix(".index"), 0, ENTRY_BYTES)
    return Entry._make(memoryview(raw).cast("Q")) if len(raw) == ENTRY_BYTES else None


def _bytes(path: Path, offset: int, size: int) -> bytes:
    """Some bytes of a file; fewer where it ends, none where it is not there."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        return b""
