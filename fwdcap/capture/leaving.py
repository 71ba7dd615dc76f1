"""Taking streams and segments away so that no reader and no crash meets half of one.

First a rename to a hidden name: for readers it is gone at once. Then the bytes,
those in the store by `sweep`, those in the archive by `sweep_archive`, because
that may be away. Whatever a crash leaves has a hidden name and goes next time.

An emptied directory keeps its name for some hours: a download that began before
the deletion must not go on with a later stream of the same name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from fwdcap.store import places
from fwdcap.store.archive import Archive

_NAME_HELD_NS = 3 * 3600 * 1_000_000_000  # longer than a clock is set back in autumn


class Leaving:
    """What is on its way out of one store."""

    def __init__(self, store: Path) -> None:
        self._streams = store / "streams"
        # Streams with something left to remove: at first any may have.
        self._here: set[str] = set()
        with contextlib.suppress(OSError):
            self._here.update(self._names())
        self._there: set[str] = set(self._here)

    def hide_stream(self, stream: str) -> None:
        """Take the stream away; raises OSError (FileNotFoundError: there is none)."""
        hidden = places.deleting(stream)
        (self._streams / stream).rename(self._streams / hidden)
        self._note(hidden)

    def hide_segments(self, stream: str, last: int) -> None:
        """Take a stream's segments up to and including that number away, oldest first."""
        directory = self._streams / stream
        found = ((places.segment_of(name), name) for name in os.listdir(directory))
        ours = [(segment, name) for segment, name in found if segment and segment[0] <= last]
        # The pcap of a segment first: with it the segment is gone.
        ours.sort(key=lambda each: (each[0][0], each[0][1] != "pcap"))
        for _, name in ours:
            (directory / name).rename(directory / places.deleting(name))
        self._note(stream)

    def sweep(self, now_ns: int, archive: bool) -> None:
        """Remove what of it is in the store; raises OSError.

        `now_ns` is UTC, `archive` whether there is one that may have the rest.
        """

        def remove(directory: Path, hidden: bool) -> None:
            for name in os.listdir(directory):
                path = directory / name
                if (hidden or places.deleted_name(name)) and not path.is_symlink():
                    path.unlink(missing_ok=True)

        _each(self._here, self._streams, remove)
        for name in self._names():
            if places.deleted_name(name) and not (archive and name in self._there):
                self._give_up_name(self._streams / name, now_ns)

    def sweep_archive(self, archive: Archive) -> bool:
        """Remove what of it is in the archive, which is there now, and the links to it.

        Returns whether there was anything to look at.
        """
        if not self._there:
            return False

        def remove(directory: Path, hidden: bool) -> None:
            stream = places.stream_of(directory)
            if hidden:
                archive.remove_stream(stream)
            for name in os.listdir(directory):
                if (directory / name).is_symlink() and (hidden or places.deleted_name(name)):
                    archive.remove(stream, places.deleted_name(name) or name)
                    (directory / name).unlink(missing_ok=True)

        _each(self._there, self._streams, remove)
        return True

    def clear(self) -> None:
        """Remove links that a crash kept from taking their place; nothing may be moving."""
        for stream in self._names():
            directory = self._streams / stream
            for name in os.listdir(directory):
                if places.is_unfinished(name) and (directory / name).is_symlink():
                    (directory / name).unlink()

    def _note(self, name: str) -> None:
        self._here.add(name)
        self._there.add(name)

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._streams) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def _give_up_name(self, directory: Path, now_ns: int) -> None:
        with contextlib.suppress(OSError):  # not empty: some of it is in the archive
            if now_ns - directory.stat().st_mtime_ns > _NAME_HELD_NS:
                directory.rmdir()


def _each(names: set[str], streams: Path, work: Callable[[Path, bool], None]) -> None:
    """`work` on each directory and whether it goes as a whole; one that failed stays in `names`.

    Another thread may add to `names` at any time.
    """
    for name in list(names):
        names.discard(name)
        try:
            work(streams / name, places.deleted_name(name) is not None)
        except FileNotFoundError:
            continue  # gone altogether meanwhile
        except OSError:
            names.add(name)
            raise
