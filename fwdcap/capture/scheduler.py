"""The schedule at work: begins, ends and rolls captures as its rows say.

What is due is decided in schedule.py; here it is done, kept and told. A start
that fails, and a capture that a full disk ended, are tried again, ever later,
while their window lasts: nobody has to restart anything once there is room.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import time
from pathlib import Path
from typing import Any

from fwdcap.capture import ending, rows, schedule, timetable
from fwdcap.capture.captures import Captures
from fwdcap.capture.folder import refusal
from fwdcap.capture.notice import Notice
from fwdcap.capture.rows import Row
from fwdcap.capture.schedule import LATE_NS, NS, Action, Do, Moment, Running
from fwdcap.capture.summary import Outcome
from fwdcap.capture.timetable import Timetable
from fwdcap.capture.words import Wish
from fwdcap.errors import Conflict, FwdcapError, Invalid
from fwdcap.store.times import local, zone_of

log = logging.getLogger(__name__)

_AGAIN_S = (10, 20, 40, 80, 160, 300)
_STEADY_NS = 60 * NS  # a capture that lasts this long has begun well
_AT_ONCE = 3  # a stop, the next row's start, and one to spare

Body = dict[str, Any]


@dataclass(frozen=True)
class Trouble:
    """Why a row's capture could not begin or go on, and when it is tried again (monotonic)."""

    message: str
    hint: str
    tries: int
    again_ns: int


class Scheduler:
    """Of one daemon. `load` once, `tick` every second."""

    def __init__(
        self,
        store: Path,
        managed: tuple[Row, ...],
        captures: Captures,
        start: Callable[[Wish], Outcome],
        *,
        zone: str,
        roll: time | None,
        utc_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
    ) -> None:
        """`managed` are the rows of the settings file, `start` begins a capture."""
        self._path = store / timetable.FILE
        self._store = store
        self._managed = managed
        self._captures = captures
        self._begin = start
        self._zone_name, self._zone = zone, zone_of(zone)
        self._roll = roll
        self._utc_ns = utc_ns
        self._monotonic_ns = monotonic_ns
        self._table = Timetable()
        self._unread: Invalid | None = None
        self._waiting: dict[str, str] = {}  # row → the capture it waits for
        self._troubles: dict[str, Trouble] = {}
        self._failed_stream = ""
        self._unrolled = ""  # why a roll has not succeeded yet

    # ---- what it is

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, those of the settings file first."""
        return self._managed + self._table.rows

    def body(self) -> Body:
        """GET /schedule."""
        moment = self._moment()
        return {
            "revision": self._table.revision,
            "zone": self._zone_name,
            "roll": rows.time_text(self._roll) if self._roll is not None else "",
            "rows": [self._row_body(row, moment) for row in self.rows],
        }

    def notices(self) -> tuple[Notice, ...]:
        """What a person should know of."""
        found = []
        if self._unread is not None:
            found.append(Notice("schedule-unreadable", self._unread.message, self._unread.hint))
        for row, other in self._waiting.items():
            found.append(
                Notice(
                    "schedule-waiting",
                    f"Scheduled capture [{row}] is due and waits for [{other}] to end.",
                    "Stop that one to let it begin.",
                )
            )
        running = self._captures.words
        for row, trouble in self._troubles.items():
            if running is not None and running.schedule == row:
                continue  # it records again, if not for long yet
            message = f"Scheduled capture [{row}] does not record: {trouble.message}"
            found.append(Notice("schedule-failed", message, trouble.hint))
        return tuple(found)

    def wants(self, name: str) -> bool:
        """Is that row inside a window of its own that nobody stopped?"""
        row = next((row for row in self.rows if row.name == name and row.enabled), None)
        span = schedule.window(row, self._moment()) if row is not None else None
        return span is not None and self._table.stopped.get(name, -1) < span.start_ns

    # ---- changes

    def load(self) -> list[str]:
        """Read the file; one that is damaged is said, and left until the schedule is written."""
        try:
            table = timetable.read(self._path)
            rows.check_unique(self._managed + table.rows)
        except Invalid as error:
            self._unread = error
            return [str(error)]
        self._table, self._unread = table, None
        return []

    def put(self, raw: object, revision: int | None) -> Body:
        """Replace all rows but those of the settings file, which may be in the list unchanged.

        `revision` is that of the list that was edited; None overwrites. Raises Invalid,
        Conflict when it has changed since or a row is the settings', DiskFull.
        """
        if revision is not None and revision != self._table.revision:
            raise Conflict(
                f"The schedule was changed meanwhile (revision {self._table.revision}, "
                f"yours is {revision}).",
                code="schedule-changed",
                hint="Look at it again, then repeat the change.",
            )
        self._keep(self._own_rows(rows.parse_rows(raw)))
        return self.body()

    def note_stop(self, name: str) -> None:
        """A person stops that row's capture; on a full disk too, if not for the next daemon."""
        self._table = replace(self._table, stopped={**self._table.stopped, name: self._utc_ns()})
        try:
            self._write(self._table)
        except FwdcapError as error:
            log.warning("that [%s] was stopped could not be noted: %s", name, error)

    # ---- at work

    def tick(self) -> list[str]:
        """Do what is due; returns what there is to say."""
        lines = self._note_failures()
        for _ in range(_AT_ONCE):
            action = schedule.due(self.rows, self._moment(), self._held())
            if action.do is Do.NOTHING:
                break
            said = self._do(action)
            lines += said
            if action.do is not Do.STOP:
                break
        return lines + self._note_waiting()

    def _do(self, action: Action) -> list[str]:
        name = action.row
        if action.do is Do.START:
            return self._start(action)
        try:
            if action.do is Do.STOP:
                outcome = self._captures.stop(ending.SCHEDULE)
                return [f"Scheduled capture [{name}] was ended, {action.why} ({outcome.stream})."]
            said, self._unrolled = self._captures.roll().message, ""
            return [f"Scheduled {said}."]
        except FwdcapError as error:  # tried again in a second
            known, self._unrolled = self._unrolled, str(error)
            return [self._unrolled] if self._unrolled != known else []

    def _start(self, action: Action) -> list[str]:
        name = action.row
        waited, trouble = self._waiting.pop(name, ""), self._troubles.get(name)
        try:
            outcome = self._begin(Wish(name, row=name))
        except FwdcapError as error:
            return self._note_trouble(name, error.message, error.hint)
        if self._utc_ns() - action.due_ns <= LATE_NS:
            return [f"Scheduled capture [{name}] began ({outcome.stream})."]
        why = f", [{waited}] was running" if waited else ""
        why = why or (", after a failure" if trouble else "")
        due = f"{local(action.due_ns, self._zone):%Y-%m-%d %H:%M:%S}"
        return [
            f"Scheduled capture [{name}] began late, it was due at {due}{why} ({outcome.stream})."
        ]

    # ---- troubles

    def _held(self) -> frozenset[str]:
        now_ns = self._monotonic_ns()
        return frozenset(n for n, trouble in self._troubles.items() if now_ns < trouble.again_ns)

    def _note_trouble(self, name: str, message: str, hint: str = "") -> list[str]:
        known = self._troubles.get(name)
        tries = known.tries + 1 if known else 0
        pause_s = _AGAIN_S[min(tries, len(_AGAIN_S) - 1)]
        again_ns = self._monotonic_ns() + pause_s * NS
        self._troubles[name] = Trouble(message, hint, tries, again_ns)
        if known is not None and known.message == message:
            return []
        return [f"Scheduled capture [{name}] does not record, it is tried again: {message}"]

    def _note_failures(self) -> list[str]:
        """Notice that a row's capture failed, and that one has begun well."""
        running, last = self._captures.words, self._captures.last
        self._troubles = {row: t for row, t in self._troubles.items() if self.wants(row)}
        if running is not None:
            if self._utc_ns() - running.started_ns > _STEADY_NS:
                self._troubles.pop(running.schedule, None)
            return []
        if last is None or not last.schedule or last.ended not in ending.FAILURES:
            return []
        if last.stream == self._failed_stream or not self.wants(last.schedule):
            return []
        self._failed_stream = last.stream
        return self._note_trouble(last.schedule, last.message)

    def _note_waiting(self) -> list[str]:
        running = self._captures.words
        names = schedule.waiting(self.rows, self._moment()) if running is not None else ()
        now = {name: running.name for name in names if running is not None}
        new = [name for name in now if name not in self._waiting]
        # One that no longer waits is remembered until its start has been told.
        self._waiting = now if running is not None else self._waiting
        return [
            f"Scheduled capture [{name}] is due and waits for [{now[name]}] to end." for name in new
        ]

    # ---- inside

    def _moment(self) -> Moment:
        words = self._captures.words
        running = Running(words.name, words.schedule, words.started_ns) if words else None
        return Moment(self._utc_ns(), self._zone, running, self._table.stopped, self._roll)

    def _own_rows(self, given: tuple[Row, ...]) -> tuple[Row, ...]:
        """Those of the list that are not the settings'."""
        managed = {row.name: row for row in self._managed}
        for name, row in managed.items():
            found = next((each for each in given if each.name == name), None)
            if found is None or replace(found, managed=True) != row:
                raise Conflict(
                    f"Row [{name}] stands in the settings file and can only be changed there.",
                    code="schedule-managed",
                    hint="Edit its [[schedule]] and restart fwdcap run.",
                )
        return tuple(row for row in given if row.name not in managed)

    def _keep(self, own: tuple[Row, ...]) -> None:
        before = {row.name: row for row in self._table.rows}
        enabled = {row.name for row in own if row.enabled}
        stays = {
            name: at_ns
            for name, at_ns in self._table.stopped.items()
            if name in {row.name for row in (*own, *self._managed)}
            # To switch a row on is to want it now.
            and not (name in enabled and name in before and not before[name].enabled)
        }
        self._write(Timetable(own, self._table.revision + 1, stays))
        self._unread = None
        self._troubles.clear()

    def _write(self, table: Timetable) -> None:
        try:
            timetable.write(self._path, table)
        except OSError as error:
            raise refusal(error, self._store) from error
        self._table = table

    def _row_body(self, row: Row, moment: Moment) -> Body:
        span = schedule.window(row, moment) if row.enabled else None
        running, trouble = moment.running, self._troubles.get(row.name)
        if not row.enabled:
            state = "disabled"
        elif running is not None and running.row == row.name:
            state = "recording"
        elif span is None:
            state = "idle"
        elif moment.stopped.get(row.name, -1) >= span.start_ns:
            state = "stopped"
        else:
            state = "failed" if trouble and running is None else "waiting"
        return {
            **row.to_dict(),
            "managed": row.managed,
            "state": state,
            "until_ns": span.stop_ns if span is not None and not row.always else None,
            "next_ns": schedule.following_ns(row, moment) if row.enabled else None,
            "message": trouble.message if trouble and state == "failed" else "",
        }
