"""Keeping the store within its limits, beside the daemon's tick and never in its way.

Two workers are poked every second. The keeper looks at what there is and takes
away what retention chooses; the porter moves to the archive what the keeper
says. Both work in rounds, which tests call themselves.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fwdcap.capture import folder
from fwdcap.capture.accounts import Account
from fwdcap.capture.background import Worker
from fwdcap.capture.board import Board
from fwdcap.capture.leaving import Leaving
from fwdcap.capture.notice import Notice
from fwdcap.capture.porter import Porter
from fwdcap.capture.rules import Rules
from fwdcap.errors import Conflict, Unavailable
from fwdcap.store import names, places, stream_json
from fwdcap.store.retention import Delete, Kept, Limits, Trim, choose, to_archive
from fwdcap.store.segments import contents
from fwdcap.store.survey import Survey

_STUCK_S = 30.0
_STOP_S = 2.0


class Running(Protocol):
    """What housekeeping needs of the captures."""

    @property
    def stream(self) -> str | None: ...
    def note_trimmed(
        self, stream: str, original_first_ns: int | None, removed: Mapping[str, int]
    ) -> None: ...


class Housekeeping:
    """Of one store. `start` once, `tick` every second, `close` at the end."""

    def __init__(
        self,
        store: Path,
        rules: Rules,
        running: Running,
        web: Account,
        *,
        utc_ns: Callable[[], int] = time.time_ns,
        disk: Callable[[Path], Any] = shutil.disk_usage,
    ) -> None:
        self._store = store
        self._rules = rules
        self._running = running
        self._utc_ns = utc_ns
        self._disk = disk
        self._board = Board()
        self._survey = Survey(store)
        self._leaving = Leaving(store)
        self._commit = threading.Lock()
        self._used_archive_bytes = 0
        self.porter = Porter(store, rules.archive, self._leaving, self._commit, self._board, web)
        self._keeper = Worker("keeper", self.keep)

    # ---- for the daemon

    def start(self) -> None:
        self._keeper.start()
        self.porter.worker.start()
        self.poke()

    def poke(self) -> None:
        """Have both look again, now."""
        self._keeper.poke()
        self.porter.worker.poke()

    def tick(self) -> list[str]:
        """Every second; returns what there is to say since the last time."""
        if self._keeper.busy_s() > _STUCK_S:
            self._board.say(
                "store-stuck",
                f"The disk of the store {self._store} does not answer.",
                "Look at it and at the kernel's log.",
            )
        else:
            self._board.withdraw("store-stuck")
        self.porter.tell_if_stuck()
        self.poke()
        return self._board.take_lines()

    def close(self) -> None:
        """Let go; a copy under way is dropped, and made again by the next daemon."""
        self._keeper.stop(_STOP_S)
        self.porter.worker.stop(_STOP_S)

    def notices(self) -> tuple[Notice, ...]:
        """What a person should know of."""
        return self._board.notices()

    def archive(self) -> dict[str, Any] | None:
        """The archive in the `store` object of GET /status; None without one."""
        path, space = self.porter.path, self.porter.space
        if path is None:
            return None
        return {
            "path": str(path),
            "there": space is not None,
            "used_bytes": self._used_archive_bytes,
            "free_bytes": space.free_bytes if space else 0,
            "total_bytes": space.total_bytes if space else 0,
        }

    def delete(self, stream: str) -> None:
        """Delete a whole stream. Raises NotFound, Conflict while it is recorded, Unavailable."""
        directory = names.stream_directory(self._store, stream)
        if not directory.is_dir():
            raise names.not_found(stream)
        if stream == self._running.stream:
            raise Conflict(
                f"Stream {stream} is being recorded.",
                code="stream-recording",
                hint="Stop the capture first.",
            )
        try:
            self._hide(stream)
        except FileNotFoundError:
            raise names.not_found(stream) from None
        except OSError as error:
            raise Unavailable(
                f"Stream {stream} cannot be deleted: {error.strerror or error}.",
                code="store-not-writable",
                hint="Look at the store's disk.",
            ) from error
        self.poke()

    # ---- a round of the keeper

    def keep(self) -> None:
        """Finish what was begun, look, choose, take away."""
        try:
            self._keep()
            self._board.withdraw("store-unkept")
        except OSError as error:
            why = error.strerror or str(error)
            self._board.say("store-unkept", f"The store {self._store} cannot be tended: {why}.")

    def _keep(self) -> None:
        space = self.porter.space
        self._leaving.sweep(self._utc_ns(), space is not None)
        disk, now_ns, running = self._disk(self._store), self._utc_ns(), self._running.stream
        limits = self._rules.limits(disk.total, space)
        streams = self._survey.streams(running, space is not None, now_ns)
        chosen = choose(streams, limits, disk.free, now_ns, self.porter.free_bytes)
        for action in chosen:
            self._take_away(action, streams)
        if chosen:
            self._leaving.sweep(now_ns, space is not None)
        if running is not None:
            self._note_removed(running)
        short = disk.free < (limits.min_free_bytes or 0)
        self.porter.order(to_archive(streams, limits, disk.free), hurry=short)
        self._used_archive_bytes = sum(stream.archive_bytes for stream in streams)
        self._judge(streams, limits, disk.free, bool(chosen))

    def _take_away(self, action: Delete | Trim, streams: Sequence[Kept]) -> None:
        kept = next(stream for stream in streams if stream.stream == action.stream)
        if isinstance(action, Delete):
            self._hide(action.stream)
            self.porter.expect(kept.archive_bytes)
            size = kept.store_bytes + kept.archive_bytes
            self._board.line(
                f"Stream {action.stream} was deleted, for room or age: {size:,} bytes."
            )
            return
        with self._commit:
            self._leaving.hide_segments(action.stream, action.last)
        gone = [piece for piece in kept.pieces if piece.number <= action.last]
        self.porter.expect(sum(piece.archive_bytes for piece in gone))
        size = sum(piece.store_bytes + piece.archive_bytes for piece in gone)
        which = "running" if kept.ended_ns is None else "last"
        oldest = f"{len(gone)} segments" if len(gone) > 1 else "segment"
        self._board.line(
            f"The {which} stream {action.stream} lost its oldest {oldest}, "
            f"for room: {size:,} bytes."
        )
        if kept.ended_ns is not None:
            self._note_removed(action.stream)

    def _hide(self, stream: str) -> None:
        with self._commit:
            self._leaving.hide_stream(stream)

    def _note_removed(self, stream: str) -> None:
        """Let stream.json say what is no longer there."""
        directory = self._store / "streams" / stream
        found = (places.segment_of(name) for name in os.listdir(directory))
        first = min((number for number, kind in filter(None, found) if kind == "pcap"), default=0)
        words = stream_json.read(directory / stream_json.FILE)
        if not first or words is None or words.removed.get("segments") == first:
            return
        held = contents(directory, partly=True)
        removed = {
            "segments": held.removed_segments,
            "packets": held.before.packets,
            "bytes": held.before.bytes,
        }
        self._running.note_trimmed(stream, held.anchor_ns, removed)

    def _judge(self, streams: Sequence[Kept], limits: Limits, free_bytes: int, acted: bool) -> None:
        used = sum(stream.store_bytes + stream.archive_bytes for stream in streams)
        if limits.max_bytes is not None and used > limits.max_bytes and not acted:
            self._board.say(
                "store-above-limit",
                f"The store holds {used:,} bytes, more than the {limits.max_bytes:,} of "
                "[store] max_bytes, and nothing more of it may be deleted.",
                "The segment being written always stays: make max_bytes several segments.",
            )
        else:
            self._board.withdraw("store-above-limit")
        if free_bytes < folder.MIN_FREE_BYTES and not acted:
            self._board.say(
                "store-full",
                f"The disk of the store {self._store} is full: {free_bytes:,} bytes are free.",
                "Delete streams (`fwdcap stream delete`), or set [store] max_bytes or min_free.",
            )
        else:
            self._board.withdraw("store-full")
