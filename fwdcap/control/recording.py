"""Captures and their schedule as the service has them: one thing to start, tend and ask.

It knows what a stream notes of the machine (routes, interface, link), which
neither captures nor schedule do. Verbs are called one at a time, under the
service's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from typing import Any

from fwdcap.capture import rows
from fwdcap.capture.captures import Captures
from fwdcap.capture.notice import Notice
from fwdcap.capture.place import Place, Source
from fwdcap.capture.rows import Row
from fwdcap.capture.scheduler import Scheduler
from fwdcap.capture.summary import Outcome
from fwdcap.capture.words import Around, Wish
from fwdcap.config import Settings
from fwdcap.errors import FwdcapError

Body = dict[str, Any]


class Recording:
    """Of one daemon."""

    def __init__(
        self,
        settings: Settings,
        place: Place,
        source: Source,
        around: Callable[[], Around],
        *,
        utc_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
    ) -> None:
        """Raises Invalid for a schedule of the settings that cannot be used."""
        self._around = around
        self.captures = Captures(place, source, utc_ns=utc_ns, monotonic_ns=monotonic_ns)
        self.schedule = Scheduler(
            place.store,
            managed_rows(settings),
            self.captures,
            self._start,
            zone=settings.time.zone,
            roll=roll_time(settings),
            utc_ns=utc_ns,
            monotonic_ns=monotonic_ns,
        )

    def start(self, wish: Wish) -> Body:
        """Raises Invalid, Conflict, Unavailable or DiskFull."""
        return self._start(wish).to_dict()

    def stop(self, pressed: bool) -> Body:
        """`pressed`: by a person's STOP, so a row's capture stays stopped until its next start.

        Raises Conflict.
        """
        running = self.captures.words
        if pressed and running is not None and running.schedule:
            self.schedule.note_stop(running.schedule)
        return self.captures.stop().to_dict()

    def roll(self) -> Body:
        """Raises Conflict or Unavailable."""
        return self.captures.roll().to_dict()

    def adopt(self, waiting: bool = False) -> list[str]:
        """Take over what was left, and go on with what a reboot interrupted."""
        lines = self.captures.adopt(waiting)
        words = self.captures.take_interrupted()
        if words is None or self.captures.running is not None:
            return lines
        if words.schedule and not self.schedule.wants(words.schedule):
            return lines
        wish = self.captures.wish_after(words)
        if wish is None:
            return lines
        try:
            outcome = self._start(wish)
        except FwdcapError as error:
            return [*lines, f"Capture [{words.name}] cannot go on: {error}"]
        return [*lines, f"Capture [{words.name}] goes on in {outcome.stream}."]

    def tend(self) -> list[str]:
        """Every second; returns what there is to say."""
        return [*self.captures.tend(), *self.schedule.tick()]

    def notices(self, state: Body) -> tuple[Notice, ...]:
        """What a person should know of; `state` is the status of the capture."""
        said: tuple[Notice, ...] = ()
        if state["recorder"] == "failed":
            hint = "Correct that, then start the capture again; a scheduled one does so by itself."
            said = (Notice("capture-failed", state["message"], hint),)
        elif state["active"] and state["message"] and state["recorder"] != "stopping":
            said = (Notice("recorder-trouble", state["message"], "Its log says more."),)
        return (*said, *self.schedule.notices())

    def _start(self, wish: Wish) -> Outcome:
        return self.captures.start(wish, self._around())


def managed_rows(settings: Settings) -> tuple[Row, ...]:
    """The rows of the settings file. Raises Invalid."""
    raw = [row.model_dump(exclude_none=True) for row in settings.schedule]
    found = rows.parse_rows(raw, "[[schedule]] of the settings")
    return tuple(Row(**{**vars(row), "managed": True}) for row in found)


def roll_time(settings: Settings) -> time | None:
    """When 24/7 captures begin a new stream; None for never. Raises Invalid."""
    text = settings.capture.roll
    return rows.parse_time(text, "[capture] roll") if text else None
