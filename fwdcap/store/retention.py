"""What has to go, and what has to move, so that the store stays within its limits. Pure.

Whole complete streams go first, oldest first, and no more of them than the
limits ask for; only when none is left does the running stream lose its oldest
sealed segments. The last stream of all does so too when it is complete, and goes
as a whole only if nothing less will do, or for its age. `max_bytes` is over store
and archive together. `min_free` is of each file system: with an archive the store
is kept free by moving segments there, and only if half of its `min_free` is used
up all the same, by deleting.

What lies in an archive that cannot be read now is neither counted nor deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment with its tags and index: bytes on disk in the store and in the archive.

    `sealed`: the recorder is done with it. `away`: some of it cannot be reached.
    """

    number: int
    store_bytes: int
    archive_bytes: int = 0
    sealed: bool = True
    away: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A stream in the store, its pieces in order; `ended_ns` (UTC) is None while it runs."""

    stream: str
    started_ns: int
    ended_ns: int | None
    pieces: tuple[Piece, ...]
    other_bytes: int = 0

    @property
    def store_bytes(self) -> int:
        return self.other_bytes + sum(piece.store_bytes for piece in self.pieces)

    @property
    def archive_bytes(self) -> int:
        return sum(piece.archive_bytes for piece in self.pieces)

    @property
    def away(self) -> bool:
        return any(piece.away for piece in self.pieces)


@dataclass(frozen=True)
class Limits:
    """Bytes and nanoseconds; None where there is no such limit.

    `min_free_bytes` is of the store's file system, `archive_min_free_bytes` of
    the archive's. `archive_above_bytes`: beyond this the store's oldest
    segments move; None where they do not.
    """

    max_bytes: int | None = None
    max_age_ns: int | None = None
    min_free_bytes: int | None = None
    archive_min_free_bytes: int | None = None
    archive_above_bytes: int | None = None


@dataclass(frozen=True)
class Move:
    """Move a segment of so many bytes to the archive."""

    stream: str
    number: int
    bytes: int


@dataclass(frozen=True)
class Delete:
    """Delete the whole stream."""

    stream: str


@dataclass(frozen=True)
class Trim:
    """Delete the segments of the last stream up to and including `last`."""

    stream: str
    last: int


Action = Delete | Trim


@dataclass
class _Excess:
    """Bytes that must go: of both places together, from the store, from the archive."""

    total: int
    store: int
    archive: int

    def helped_by(self, store_bytes: int, archive_bytes: int) -> bool:
        return (
            self.total > 0
            or (self.store > 0 and store_bytes > 0)
            or (self.archive > 0 and archive_bytes > 0)
        )

    def less(self, store_bytes: int, archive_bytes: int) -> None:
        self.total -= store_bytes + archive_bytes
        self.store -= store_bytes
        self.archive -= archive_bytes


def choose(
    streams: Sequence[Kept],
    limits: Limits,
    free_bytes: int,
    now_ns: int,
    archive_free_bytes: int | None = None,
) -> tuple[Action, ...]:
    """What to delete, in order; nothing where the limits hold.

    `free_bytes` are those of the store's file system, with whatever is being
    deleted already; `archive_free_bytes` is None without a usable archive.
    """
    excess = _excess(streams, limits, free_bytes, archive_free_bytes)
    complete = sorted(
        (stream for stream in streams if stream.ended_ns is not None),
        key=lambda stream: (stream.ended_ns, stream.stream),
    )
    running = sorted(
        (stream for stream in streams if stream.ended_ns is None),
        key=lambda stream: (stream.started_ns, stream.stream),
    )
    newest = complete[-1] if complete and not running else None
    whole = [stream for stream in complete if stream is not newest]
    ends: list[Action] = list(_deletes(whole, limits, excess, now_ns))
    if newest is not None:
        ends.extend(_trim_or_delete(newest, limits, excess, now_ns))
    return tuple(chain(ends, _trims(running, excess)))


def to_archive(streams: Iterable[Kept], limits: Limits, free_bytes: int) -> tuple[Move, ...]:
    """Segments to move, oldest first; none where nothing has to."""
    if limits.archive_above_bytes is None:
        return ()
    every = sorted(streams, key=lambda stream: (stream.started_ns, stream.stream))
    much = sum(stream.store_bytes for stream in every) - limits.archive_above_bytes
    much = max(much, (limits.min_free_bytes or 0) - free_bytes)
    chosen: list[Move] = []
    for stream in every:
        for piece in stream.pieces:
            if much <= 0:
                return tuple(chosen)
            if piece.sealed and piece.store_bytes and not piece.away:
                chosen.append(Move(stream.stream, piece.number, piece.store_bytes))
                much -= piece.store_bytes
    return tuple(chosen)


def _excess(
    streams: Sequence[Kept], limits: Limits, free_bytes: int, archive_free_bytes: int | None
) -> _Excess:
    used = sum(stream.store_bytes + stream.archive_bytes for stream in streams)
    floor = limits.min_free_bytes or 0
    if archive_free_bytes is not None and limits.archive_above_bytes is not None:
        floor //= 2
    archive = 0
    if archive_free_bytes is not None:
        archive = (limits.archive_min_free_bytes or 0) - archive_free_bytes
    return _Excess(
        total=used - limits.max_bytes if limits.max_bytes is not None else 0,
        store=floor - free_bytes,
        archive=archive,
    )


def _deletes(
    complete: Sequence[Kept], limits: Limits, excess: _Excess, now_ns: int
) -> Iterator[Delete]:
    for stream in complete:
        if stream.away:
            continue
        store_bytes, archive_bytes = stream.store_bytes, stream.archive_bytes
        # What the archive has does not go because the store is short of room.
        gives = 0 if archive_bytes else store_bytes
        if _expired(stream, limits, now_ns) or excess.helped_by(gives, archive_bytes):
            excess.less(store_bytes, archive_bytes)
            yield Delete(stream.stream)


def _expired(stream: Kept, limits: Limits, now_ns: int) -> bool:
    return limits.max_age_ns is not None and now_ns - (stream.ended_ns or 0) > limits.max_age_ns


def _trim_or_delete(stream: Kept, limits: Limits, excess: _Excess, now_ns: int) -> Sequence[Action]:
    """What becomes of the last stream of all, which is complete."""
    whole = list(_deletes([stream], limits, replace(excess), now_ns))
    if not whole or _expired(stream, limits, now_ns):
        return whole
    left = replace(excess)
    trims = list(_trims([replace(stream, pieces=stream.pieces[:-1])], left))
    return trims if not left.helped_by(stream.store_bytes, stream.archive_bytes) else whole


def _trims(running: Sequence[Kept], excess: _Excess) -> Iterator[Trim]:
    for stream in running:
        last: int | None = None
        for piece in stream.pieces:
            helps = excess.helped_by(piece.store_bytes, piece.archive_bytes)
            if not piece.sealed or piece.away or not helps:
                break
            excess.less(piece.store_bytes, piece.archive_bytes)
            last = piece.number
        if last is not None:
            yield Trim(stream.stream, last)
