"""What every stream takes on disk, in the store and in the archive, segment by segment.

Asked every second, so what cannot change is remembered: a stream that is
complete until its directory changes, a sealed segment of a running one until it
moves. The archive is touched once for each segment there, and only while it is
known to answer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from fwdcap.store import checkpoint, places, stream_json
from fwdcap.store.retention import Kept, Piece
from fwdcap.store.stream_json import StreamJson

_BLOCK_BYTES = 512
_GRAIN_NS = 2_000_000_000


@dataclass
class _Memory:
    """What was seen of one stream."""

    changed_ns: int = 0
    kept: Kept | None = None
    pieces: dict[int, Piece] = field(default_factory=dict)


class Survey:
    """Of one store; `streams` is called from one thread."""

    def __init__(self, store: Path) -> None:
        self._directory = store / "streams"
        self._memories: dict[str, _Memory] = {}

    def streams(self, running: str | None, archive_there: bool, now_ns: int) -> list[Kept]:
        """All streams; `running` is written to now, whatever its files say. `now_ns` is UTC."""
        names = [name for name in _listed(self._directory) if not name.startswith(".")]
        self._memories = {name: self._memories.get(name, _Memory()) for name in names}
        found = (self._stream(name, name == running, archive_there, now_ns) for name in names)
        return [kept for kept in found if kept is not None]

    def _stream(self, name: str, running: bool, archive_there: bool, now_ns: int) -> Kept | None:
        directory, memory = self._directory / name, self._memories[name]
        try:
            changed_ns = directory.stat().st_mtime_ns
            known = memory.kept if changed_ns == memory.changed_ns else None
            if known is not None and _holds(known, running, archive_there):
                return known
            kept = self._look(directory, running, archive_there, memory)
        except OSError:
            return None  # deleted meanwhile
        # Within the clock's grain a later change would have the same time.
        memory.changed_ns = changed_ns if now_ns - changed_ns > _GRAIN_NS else 0
        memory.kept = kept
        return kept

    def _look(
        self, directory: Path, running: bool, archive_there: bool, memory: _Memory
    ) -> Kept | None:
        words = stream_json.read(directory / stream_json.FILE)
        said = checkpoint.read(directory / checkpoint.FILE)
        running = running or (words is not None and words.state == "recording")
        segments, other_bytes = _files(directory)
        if words is None and said is None and not segments:
            return None
        open_number = said.segment if said is not None else max(segments, default=0)
        pieces: list[Piece] = []
        for number, names in sorted(segments.items()):
            sealed = not running or number < open_number
            piece = memory.pieces.get(number)
            if piece is None or not _lasts(piece, names, archive_there):
                piece = _piece(directory, number, names, sealed, archive_there)
            memory.pieces[number] = piece
            pieces.append(piece)
        began_ns = words.started_ns if words is not None else (said.first_ns if said else 0)
        last_ns = said.last_ns if said is not None else 0
        return Kept(
            stream=directory.name,
            started_ns=began_ns or directory.stat().st_mtime_ns,
            ended_ns=None if running else _ended_ns(words, last_ns, directory),
            pieces=tuple(pieces),
            other_bytes=other_bytes,
        )


def _holds(known: Kept, running: bool, archive_there: bool) -> bool:
    """Does what was seen of an unchanged directory still hold?"""
    if running or known.ended_ns is None:
        return False
    return not known.away if archive_there else not known.archive_bytes


def _listed(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _ended_ns(words: StreamJson | None, last_ns: int, directory: Path) -> int:
    """When the stream ended, as well as is known."""
    stopped_ns = words.stopped_ns if words is not None else None
    return stopped_ns or last_ns or directory.stat().st_mtime_ns


def _files(directory: Path) -> tuple[dict[int, dict[str, bool]], int]:
    """By segment the names of its files and whether each is a link; and the bytes of the rest."""
    segments: dict[int, dict[str, bool]] = {}
    other_bytes = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            segment = places.segment_of(entry.name)
            if segment is not None:
                segments.setdefault(segment[0], {})[entry.name] = entry.is_symlink()
            elif not entry.name.startswith("."):
                other_bytes += _bytes(entry.path)
    return segments, other_bytes


def _lasts(piece: Piece, names: dict[str, bool], archive_there: bool) -> bool:
    """Is a segment still as it was when it was last looked at?"""
    if any(names.values()):
        return archive_there and not piece.away and not piece.store_bytes
    return piece.sealed


def _piece(
    directory: Path, number: int, names: dict[str, bool], sealed: bool, archive_there: bool
) -> Piece:
    linked = [name for name, link in names.items() if link and places.is_archived(directory, name)]
    here = sum(_bytes(directory / name) for name in names if name not in linked)
    try:
        found = [(directory / name).stat().st_blocks for name in linked] if archive_there else []
    except OSError:
        found = []
    away = len(found) < len(linked)
    return Piece(number, here, sum(found) * _BLOCK_BYTES, sealed, away)


def _bytes(path: Path | str) -> int:
    try:
        return os.lstat(path).st_blocks * _BLOCK_BYTES
    except FileNotFoundError:
        return 0
