"""The streams of the past, as far as captures care: the last one's numbers, words still owed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fwdcap.capture import counters, folder, recorder
from fwdcap.capture.counters import Counters
from fwdcap.capture.place import Place
from fwdcap.store import stream_json
from fwdcap.store.stream_json import StreamJson

log = logging.getLogger(__name__)


class Shelf:
    """Of one store."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._owed: StreamJson | None = None  # last words that a full disk did not take
        self._pen = threading.Lock()  # retention notes what it removed, from its own thread
        self._seen_to_end = False  # the last one ended before our eyes, whatever its times say
        self.last: tuple[StreamJson, Counters] | None = None

    def read(self) -> list[StreamJson]:
        """Look through the store: the last capture is kept, unfinished ones returned, newest
        first."""
        unfinished = []
        for name in folder.names(self._place.store):
            words = stream_json.read(self._place.directory(name) / stream_json.FILE)
            if words is None:
                continue
            if words.state == "recording":
                unfinished.append(words)
            elif self._is_later(words):
                report = recorder.report(self._place.directory(name))
                self.last = (words, counters.kept(words.counters, report))
        return sorted(unfinished, key=lambda each: (each.started_ns, each.stream), reverse=True)

    def put(self, words: StreamJson, numbers: Counters, *, owed: bool, found: bool = False) -> None:
        """A capture has ended; `owed`: its last words could not be written. What ended last is
        the last one, but of those `found` as an earlier daemon left them, which is told by the
        clock: the latest to have begun."""
        if not found or self._is_later(words):
            self.last = (words, numbers)
            self._seen_to_end = self._seen_to_end or not found
        if owed:
            self._owed = words

    def _is_later(self, words: StreamJson) -> bool:
        """Than the last one, as far as times tell."""
        if self._seen_to_end:
            return False
        return self.last is None or self.last[0].started_ns <= words.started_ns

    def write_owed(self) -> None:
        """Write what is owed, once there is room for it and the store is there."""
        with self._pen:
            words = self._owed
            directory = self._place.directory(words.stream) if words else None
            if words is None or directory is None:
                return
            if not directory.is_dir():
                if self._place.away():
                    return
            elif _is_of(directory, words):
                try:
                    stream_json.write(directory / stream_json.FILE, words)
                except OSError:
                    return  # in a second again
            self._owed = None

    def note_continued(self, stream: str, by: str) -> None:
        """Have an ended stream name the one that goes on from it."""
        try:
            self._change(stream, continued_by=by)
        except OSError as error:
            log.warning("stream.json of %s could not be written: %s", stream, error)

    def note_trimmed(
        self, stream: str, original_first_ns: int | None, removed: Mapping[str, int]
    ) -> None:
        """Write down what retention removed of a complete stream. Raises OSError."""
        self._change(
            stream, trimmed=True, original_first_ns=original_first_ns, removed=dict(removed)
        )

    def _change(self, stream: str, **changes: Any) -> None:
        path = self._place.directory(stream) / stream_json.FILE
        with self._pen:
            if self._owed is not None and self._owed.stream == stream:
                self._owed = replace(self._owed, **changes)
            words = stream_json.read(path)
            if words is not None:
                stream_json.write(path, replace(words, **changes))


def _is_of(directory: Path, words: StreamJson) -> bool:
    """Is it that stream's still, not a later one's of the same name?"""
    there = stream_json.read(directory / stream_json.FILE)
    return there is None or there.started_ns == words.started_ns
