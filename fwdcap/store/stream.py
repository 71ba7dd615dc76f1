"""What streams there are, and what is known of each.

stream.json gives the words, the checkpoint the numbers; neither is needed. A
directory whose stream.json or checkpoint is missing or torn is listed with what
its packets tell, and `problem` says in a sentence what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fwdcap import abi
from fwdcap.errors import NotFound, Unavailable
from fwdcap.store import names, stream_json
from fwdcap.store.segments import Contents, contents
from fwdcap.store.stream_json import State, StreamJson


@dataclass(frozen=True)
class StreamInfo:
    """One stream; times are UTC nanoseconds, None where unknown or (first, last) no record.

    `size_bytes` is the exact size of the stream as one pcap, of a running one
    up to what is committed. `packets` counts records. Of a `trimmed` stream
    retention has removed the beginning: all numbers are of what is left. `schedule`,
    `ended`, `message`, `continues` and `continued_by` are those of stream.json.
    """

    name: str
    stream: str
    state: State
    started_ns: int
    stopped_ns: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    packets: int = 0
    size_bytes: int = 0
    lost: int = 0
    snaplen: int = 0
    routes: tuple[Mapping[str, Any], ...] = ()
    problem: str = ""
    trimmed: bool = False
    schedule: str = ""
    ended: str = ""
    message: str = ""
    continues: str = ""
    continued_by: str = ""


def list_streams(root: Path) -> list[StreamInfo]:
    """All streams below the store, newest first; raises Unavailable where it cannot be read."""
    found = [info for name in _directories(root) if (info := _info(root, name)) is not None]
    return sorted(found, key=lambda info: (info.started_ns, info.stream), reverse=True)


def read_stream(root: Path, stream: str) -> StreamInfo:
    """That stream; raises NotFound."""
    names.stream_directory(root, stream)
    info = _info(root, stream)
    if info is None:
        raise names.not_found(stream)
    return info


def _directories(root: Path) -> list[str]:
    try:
        with os.scandir(root / "streams") as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unavailable(
            f"The store cannot be read: {error.strerror}.",
            code="store-unreadable",
            hint="Check that its disk is mounted and that its group lets you read it.",
        ) from error


def _info(root: Path, stream: str) -> StreamInfo | None:
    """That directory as a stream; None where it is not one, or gone meanwhile."""
    try:
        directory = names.stream_directory(root, stream)
        held = contents(directory, partly=True)
        created_ns = directory.stat().st_mtime_ns
    except (NotFound, OSError):
        return None
    words = stream_json.read(directory / stream_json.FILE)
    if words is None and held.checkpoint is None and not (held.segments or held.away):
        return None
    if words is None:
        return _without_words(stream, held, created_ns)
    return StreamInfo(
        name=words.name,
        stream=stream,
        state=words.state,
        started_ns=words.started_ns,
        stopped_ns=words.stopped_ns,
        first_ns=held.first_ns,
        last_ns=held.last_ns,
        packets=held.packets,
        size_bytes=held.size_bytes,
        lost=_lost(words, held),
        snaplen=words.snaplen,
        routes=words.routes,
        problem=_problem(held),
        trimmed=held.removed_segments > 0,
        schedule=words.schedule,
        ended=words.ended,
        message=words.message,
        continues=words.continues,
        continued_by=words.continued_by,
    )


def _lost(words: StreamJson, held: Contents) -> int:
    """The final count once fwdcapd has written it, before that what the recorder saw."""
    return words.lost if "lost" in words.counters else held.lost


def _without_words(stream: str, held: Contents, created_ns: int) -> StreamInfo:
    complete = held.checkpoint and held.checkpoint.state == abi.RecorderState.COMPLETE
    return StreamInfo(
        name=stream,
        stream=stream,
        state="complete" if complete else "recovered",
        started_ns=held.first_ns or created_ns,
        stopped_ns=held.last_ns,
        first_ns=held.first_ns,
        last_ns=held.last_ns,
        packets=held.packets,
        size_bytes=held.size_bytes,
        lost=held.lost,
        problem=_AWAY if held.away else _NO_WORDS,
        trimmed=held.removed_segments > 0,
    )


def _problem(held: Contents) -> str:
    if held.away:
        return _AWAY
    return "" if held.checkpoint else _NO_CHECKPOINT


_AWAY = "Part of it is in the archive, which cannot be read."
_NO_WORDS = "Its stream.json is missing or damaged: times are those of its packets."
_NO_CHECKPOINT = "Its checkpoint is missing or damaged: counted from its packets."
