"""The one who touches the archive: sees whether it is there, clears it, carries segments to it.

A worker of its own, at idle priority and a bounded rate, because a disk that is
away may hang whoever asks it: neither the tick nor the keeping of the store
waits for it. The keeper says what has to move, the porter says what space there
is.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from fwdcap.capture import folder
from fwdcap.capture.accounts import Account
from fwdcap.capture.background import Throttle, Worker
from fwdcap.capture.board import Board
from fwdcap.capture.leaving import Leaving
from fwdcap.errors import FwdcapError
from fwdcap.store import places
from fwdcap.store.archive import Archive, Space
from fwdcap.store.retention import Move

COPY_BYTES_PER_S = 200e6
_STUCK_S = 30.0
_AGAIN_S = 30.0  # after a copy that failed


class _Ended(Exception):
    """The daemon ends in the middle of a copy."""


class Porter:
    """Of one store. `path` is the archive of the settings; None: only an earlier one, if any."""

    def __init__(
        self,
        store: Path,
        path: Path | None,
        leaving: Leaving,
        commit: threading.Lock,
        board: Board,
        web: Account,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.space: Space | None = None  # None: there is none, or it is away
        self._hurry = False
        self._expected_bytes = 0  # the keeper counts here …
        self._cleared_bytes = 0  # … and the porter here
        self._moves: tuple[Move, ...] = ()
        self._store = store
        self._path = path
        self._leaving = leaving
        self._commit = commit
        self._board = board
        self._web = web
        self._clock = monotonic_s
        self._throttle = Throttle(COPY_BYTES_PER_S)
        self._archive: Archive | None = None
        self._again_s = 0.0
        self._seen_s = 0.0
        self.worker = Worker("porter", self.carry, idle=True)

    @property
    def path(self) -> Path | None:
        """Where the archive is, or should be."""
        return self._archive.path if self._archive is not None else self._path

    @property
    def free_bytes(self) -> int | None:
        """Free in the archive once what is being deleted there is gone; None while it is away."""
        space = self.space
        return (
            None if space is None else space.free_bytes + self._expected_bytes - self._cleared_bytes
        )

    def expect(self, leaving_bytes: int) -> None:
        """So many bytes in the archive are being deleted."""
        self._expected_bytes += leaving_bytes

    def order(self, moves: tuple[Move, ...], *, hurry: bool) -> None:
        """What to move, in order; replaces the order before. `hurry`: as fast as it goes."""
        self._moves, self._hurry = moves, hurry

    def carry(self) -> None:
        """One round."""
        archive = self._archive or self._find()
        if archive is None:
            return
        try:
            self._look(archive)
            while self._moves and self._clock() >= self._again_s:
                move, self._moves = self._moves[0], self._moves[1:]
                self._move(archive, move)
                self._look(archive)
            if self._clock() >= self._again_s:
                self._board.withdraw("archive")
        except FwdcapError as error:
            if error.code == "archive-away":
                self.space = None
            else:
                self._again_s = self._clock() + _AGAIN_S
            self._board.say("archive", error.message, error.hint)
        except OSError as error:
            self.space = None
            why = error.strerror or str(error)
            self._board.say("archive", f"The archive {archive.path} cannot be tended: {why}.")
        except _Ended:
            return

    def tell_if_stuck(self) -> None:
        """Say it when the archive has not answered for long."""
        silent_s = time.monotonic() - self._seen_s
        if self.worker.busy_s() > _STUCK_S and silent_s > _STUCK_S:
            self._board.say(
                "archive-stuck",
                f"The archive {self.path} does not answer.",
                "Look at its disk and at the kernel's log; recording goes on.",
            )
        else:
            self._board.withdraw("archive-stuck")

    # ---- inside

    def _find(self) -> Archive | None:
        path = self._path
        if path is None:
            link = self._store / places.ARCHIVE
            path = Path(os.readlink(link)) if link.is_symlink() else None
        if path is None:
            return None
        self._leaving.clear()
        self._archive = Archive(self._store, path, self._commit)
        return self._archive

    def _look(self, archive: Archive) -> None:
        """Clear it and see what space it has. Raises Unavailable where it is away."""
        space = archive.open()
        if self.space is None:
            archive.sweep()
        expected_bytes = self._expected_bytes
        if self._leaving.sweep_archive(archive):
            space = archive.open()
        self.space = space
        self._cleared_bytes = expected_bytes
        self._seen_s = time.monotonic()
        self._judge(archive.path, space)

    def _judge(self, path: Path, space: Space) -> None:
        if self._path is not None and not space.apart:
            self._board.say(
                "archive-same-disk",
                f"The archive {path} is on the disk of the store: moving frees nothing.",
                "Mount a disk of its own there.",
            )
        barred = folder.shut_out(path, self._web)
        if barred is None:
            self._board.withdraw("archive-closed")
            return
        self._board.say(
            "archive-closed",
            f"The pages cannot read the archive: {barred} does not let {self._web.name} pass.",
            f"`chgrp {self._web.gid} {barred}; chmod g+x {barred}` lets it.",
        )

    def _move(self, archive: Archive, move: Move) -> None:
        if self.space is not None and self.space.free_bytes < move.bytes:
            raise archive.full()
        try:
            archive.move(move.stream, move.number, self._pace)
        except FileNotFoundError:
            return  # deleted meanwhile

    def _pace(self, done_bytes: int) -> None:
        self._seen_s = time.monotonic()
        if self.worker.stopping:
            raise _Ended
        if not self._hurry:
            self._throttle(done_bytes)
