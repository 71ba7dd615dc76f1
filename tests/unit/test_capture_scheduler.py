"""The schedule at work on captures, with a clock that passes only when told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import time
from pathlib import Path

import pytest
from capture_rig import ROUTES, Rig
from control_fakes import STARTED_NS, Clock, eventually

from fwdcap.capture import timetable
from fwdcap.capture.rows import Row
from fwdcap.capture.scheduler import Scheduler
from fwdcap.capture.timetable import Timetable
from fwdcap.capture.words import Around
from fwdcap.errors import Conflict, Invalid

pytestmark = pytest.mark.unit

# 2027-01-15, a Friday, 08:00 UTC.
DAY = {"name": "day", "days": ["fri"], "start": "08:00", "stop": "18:00"}
NOON = {"name": "noon", "days": "daily", "start": "12:00", "stop": "13:00"}
ALL = {"name": "all", "always": True}
HOUR_NS = 3600 * 10**9


class Plan:
    """A rig with a schedule."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.managed: tuple[Row, ...] = ()
        self.roll: time | None = time()
        self.monotonic = Clock(0)  # not the recorder's, whose heart beats in real time
        self.schedule = self.daemon()

    def daemon(self) -> Scheduler:
        """Of a daemon that has just started, on the rig's captures."""
        captures = self.rig.captures
        made = Scheduler(
            self.rig.store,
            self.managed,
            captures,
            lambda wish: captures.start(wish, Around("cap0", ROUTES)),
            zone="UTC",
            roll=self.roll,
            utc_ns=self.rig.utc,
            monotonic_ns=self.monotonic,
        )
        made.load()
        return made

    def restart(self) -> list[str]:
        self.rig.captures = self.rig.daemon()
        lines = self.rig.captures.adopt()
        self.schedule = self.daemon()
        return lines

    def at(self, clock: str, *, day: int = 15) -> list[str]:
        """Let it be that time; returns what captures and schedule say then."""
        hours, minutes = map(int, clock.split(":"))
        was_ns = self.rig.utc.ns
        midnight_ns = STARTED_NS - 8 * HOUR_NS + (day - 15) * 24 * HOUR_NS
        self.rig.utc.ns = midnight_ns + hours * HOUR_NS + minutes * 60 * 10**9
        self.monotonic.ns += max(0, self.rig.utc.ns - was_ns)
        return self.tick()

    def tick(self) -> list[str]:
        return [*self.rig.captures.tend(), *self.schedule.tick()]

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.schedule.body()["rows"]}

    @property
    def running(self) -> str | None:
        return self.rig.captures.running


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    rig = Rig(tmp_path)
    yield Plan(rig)
    rig.end()


# ---- starting and stopping


def test_a_row_records_in_its_window(plan: Plan) -> None:
    plan.at("07:00")
    plan.schedule.put([DAY], 0)
    assert (plan.tick(), plan.states()) == ([], {"day": "idle"})
    assert plan.at("08:00") == ["Scheduled capture [day] began (day_20270115_0800)."]
    words = plan.rig.captures.words
    assert words is not None
    assert words.schedule == "day"
    assert plan.states() == {"day": "recording"}
    (line,) = plan.at("18:00")
    assert line == (
        "Scheduled capture [day] was ended, its stop time has come (day_20270115_0800)."
    )
    assert plan.running is None
    assert plan.rig.stream_json("day_20270115_0800")["ended"] == "schedule"
    assert plan.at("08:00", day=16) == []  # a Saturday


def test_a_missed_start_happens_late_with_a_line(plan: Plan) -> None:
    plan.schedule.put([DAY], 0)
    (line,) = plan.at("09:30")
    assert line == (
        "Scheduled capture [day] began late, it was due at 2027-01-15 08:00:00 (day_20270115_0930)."
    )


def test_a_due_row_waits_says_so_and_starts_when_the_other_ends(plan: Plan) -> None:
    plan.schedule.put([NOON], 0)
    plan.rig.start("manual")
    assert plan.at("12:00") == ["Scheduled capture [noon] is due and waits for [manual] to end."]
    assert plan.at("12:10") == []  # said once
    assert [notice.code for notice in plan.schedule.notices()] == ["schedule-waiting"]
    assert plan.states() == {"noon": "waiting"}
    plan.rig.captures.stop()
    (line,) = plan.at("12:20")
    assert "began late, it was due at 2027-01-15 12:00:00, [manual] was running" in line
    assert plan.schedule.notices() == ()


def test_a_window_that_passes_while_waiting_is_missed(plan: Plan) -> None:
    plan.schedule.put([NOON], 0)
    plan.rig.start("manual")
    plan.at("12:00")
    plan.at("13:00")
    assert plan.schedule.notices() == ()
    plan.rig.captures.stop()
    assert plan.at("13:01") == []
    assert plan.running is None


def test_rows_that_touch_change_over_at_once(plan: Plan) -> None:
    before = NOON | {"name": "before", "start": "11:00", "stop": "12:00"}
    plan.schedule.put([NOON, before], 0)
    plan.at("11:00")
    stopped, started = plan.at("12:00")
    assert "[before] was ended" in stopped
    assert started == "Scheduled capture [noon] began (noon_20270115_1200)."


def test_removing_or_disabling_a_row_ends_its_capture(plan: Plan) -> None:
    for rows, why in (([], "removed"), ([ALL | {"enabled": False}], "disabled")):
        plan.schedule.put([ALL], None)
        plan.tick()
        assert plan.running == "all"
        plan.schedule.put(rows, None)
        assert f"its row was {why}" in plan.tick()[0]
        assert plan.running is None


# ---- STOP


def test_stop_holds_until_the_next_start_time_and_over_a_restart(plan: Plan) -> None:
    plan.schedule.put([NOON], 0)
    plan.at("12:00")
    plan.schedule.note_stop("noon")
    plan.rig.captures.stop()
    assert plan.at("12:10") == []
    assert plan.states() == {"noon": "stopped"}
    plan.restart()
    assert plan.at("12:20") == []
    assert plan.at("12:00", day=16) == ["Scheduled capture [noon] began (noon_20270116_1200)."]


def test_to_switch_a_stopped_row_on_is_to_want_it_now(plan: Plan) -> None:
    plan.schedule.put([NOON], 0)
    plan.at("12:00")
    plan.schedule.note_stop("noon")
    plan.rig.captures.stop()
    plan.schedule.put([NOON | {"enabled": False}], None)
    plan.schedule.put([NOON], None)
    plan.at("12:10")
    assert plan.running == "noon"


def test_another_edit_leaves_a_stopped_row_stopped(plan: Plan) -> None:
    plan.schedule.put([NOON], 0)
    plan.at("12:00")
    plan.schedule.note_stop("noon")
    plan.rig.captures.stop()
    plan.schedule.put([NOON, DAY | {"days": "sun"}], None)
    assert plan.at("12:10") == []


def test_a_stop_on_a_full_disk_is_a_stop(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    plan.schedule.put([NOON], 0)
    plan.at("12:00")

    def full(path: Path, table: Timetable) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(timetable, "write", full)
    plan.schedule.note_stop("noon")
    plan.rig.captures.stop()
    assert plan.at("12:10") == []


# ---- 24/7


def test_a_24_7_row_begins_a_new_stream_every_day(plan: Plan) -> None:
    plan.schedule.put([ALL], 0)
    plan.at("09:00")
    assert plan.at("23:59") == []
    assert plan.at("00:00", day=16) == ["Scheduled capture [all] goes on in all_20270116_0000."]
    assert plan.at("00:01", day=16) == []
    assert plan.at("00:00", day=17) == ["Scheduled capture [all] goes on in all_20270117_0000."]
    assert plan.rig.stream_json("all_20270116_0000")["continues"] == "all_20270115_0900"


def test_without_a_roll_time_it_stays_one_stream(plan: Plan) -> None:
    plan.roll = None
    plan.schedule = plan.daemon()
    plan.schedule.put([ALL], 0)
    plan.at("09:00")
    assert plan.at("12:00", day=18) == []
    assert plan.rig.captures.stream == "all_20270115_0900"


def test_a_roll_that_is_not_possible_is_said_once_and_tried_again(plan: Plan) -> None:
    plan.schedule.put([ALL], 0)
    plan.at("09:00")
    plan.rig.misbehave("refuse")
    (line,) = plan.at("00:00", day=16)
    assert "could not be rolled yet" in line
    assert plan.tick() == []
    plan.rig.behave("refuse")
    plan.rig.utc.pass_s(1)
    assert "goes on in all_20270116_0000" in plan.tick()[0]
    assert plan.tick() == []


def test_the_next_daemon_rolls_what_the_last_one_missed(plan: Plan) -> None:
    plan.schedule.put([ALL], 0)
    plan.at("09:00")
    plan.rig.utc.pass_s(24 * 3600)
    plan.restart()
    assert "goes on in all_20270116_0900" in plan.tick()[0]


# ---- trouble


def test_a_capture_that_failed_is_tried_again_ever_later(plan: Plan) -> None:
    plan.schedule.put([ALL], 0)
    plan.at("09:00")
    plan.rig.misbehave("fail")
    plan.rig.gone()
    ended, trouble = plan.tick()
    assert ended == "Capture [all] was stopped, its recorder failed: the disk is full."
    assert trouble.startswith("Scheduled capture [all] does not record, it is tried again: ")
    assert [notice.code for notice in plan.schedule.notices()] == ["schedule-failed"]
    assert plan.states() == {"all": "failed"}
    plan.monotonic.pass_s(9)
    assert plan.tick() == []
    plan.rig.behave("fail")
    plan.monotonic.pass_s(1)
    assert "began late" in plan.tick()[0]
    assert plan.running == "all"
    plan.rig.utc.pass_s(61)
    plan.tick()
    assert plan.schedule.notices() == ()


def test_a_start_that_is_refused_is_said_once_and_tried_again(plan: Plan) -> None:
    plan.schedule.put([ALL], 0)
    plan.rig.source.there = False
    (line,) = plan.tick()
    assert "There is no capture interface" in line
    waits = []
    for _ in range(8):
        waits.append(_seconds_until_tried(plan))
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    plan.rig.source.there = True
    plan.monotonic.pass_s(300)
    plan.tick()
    assert plan.running == "all"


def _seconds_until_tried(plan: Plan) -> int:
    tries = plan.schedule._troubles["all"].tries
    seconds = 0
    while plan.schedule._troubles["all"].tries == tries:
        plan.monotonic.pass_s(1)
        seconds += 1
        assert plan.tick() == []
    return seconds


def test_while_one_row_is_held_another_records(plan: Plan) -> None:
    plan.schedule.put([ALL, NOON], 0)
    plan.at("12:00")
    plan.rig.misbehave("fail")
    plan.rig.gone()
    plan.rig.behave("fail")
    plan.tick()
    assert plan.running == "noon"
    assert plan.states() == {"all": "waiting", "noon": "recording"}


def test_trouble_ends_with_its_window(plan: Plan) -> None:
    plan.schedule.put([NOON], 0)
    plan.rig.source.there = False
    plan.at("12:00")
    assert plan.schedule.notices()
    plan.at("13:00")
    assert plan.schedule.notices() == ()


# ---- the list


def test_the_whole_list_is_replaced_and_its_revision_counts(plan: Plan) -> None:
    assert plan.schedule.body()["revision"] == 0
    body = plan.schedule.put([DAY, ALL | {"enabled": False}], 0)
    assert body["revision"] == 1
    day, all_ = body["rows"]
    assert day == {
        "name": "day",
        "enabled": True,
        "always": False,
        "days": ["fri"],
        "start": "08:00",
        "stop": "18:00",
        "managed": False,
        "state": "waiting",
        "until_ns": STARTED_NS + 10 * HOUR_NS,
        "next_ns": STARTED_NS + 7 * 24 * HOUR_NS,
        "message": "",
    }
    assert (all_["state"], all_["next_ns"]) == ("disabled", None)
    assert plan.daemon().body() == body  # the next daemon has it, too


def test_the_second_of_two_editors_is_told(plan: Plan) -> None:
    plan.schedule.put([DAY], 0)
    with pytest.raises(Conflict, match=r"changed meanwhile \(revision 1, yours is 0\)"):
        plan.schedule.put([], 0)
    assert len(plan.schedule.rows) == 1
    plan.schedule.put([], None)
    assert not plan.schedule.rows


def test_a_bad_row_changes_nothing(plan: Plan) -> None:
    plan.schedule.put([DAY], 0)
    with pytest.raises(Invalid):
        plan.schedule.put([DAY | {"start": "25:00"}], 1)
    assert plan.schedule.body()["revision"] == 1


def test_rows_of_the_settings_can_only_be_changed_there(plan: Plan) -> None:
    plan.managed = (Row("fixed", always=True, managed=True),)
    plan.schedule = plan.daemon()
    fixed = {"name": "fixed", "always": True, "managed": True}
    assert [row["managed"] for row in plan.schedule.put([fixed, DAY], 0)["rows"]] == [True, False]
    for rows in ([DAY], [fixed | {"enabled": False}], [NOON | {"name": "fixed"}]):
        with pytest.raises(Conflict, match=r"\[fixed\] stands in the settings file"):
            plan.schedule.put(rows, None)
    assert [row.name for row in plan.daemon().rows] == ["fixed", "day"]


def test_a_settings_row_called_like_one_of_the_list_is_said(plan: Plan) -> None:
    plan.schedule.put([DAY], 0)
    plan.managed = (Row("day", always=True, managed=True),)
    plan.schedule = plan.daemon()
    (notice,) = plan.schedule.notices()
    assert "two rows called day" in notice.message


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "rows": 3}'])
def test_a_damaged_file_is_said_and_overwritten_only_by_a_change(plan: Plan, text: str) -> None:
    path = plan.rig.store / timetable.FILE
    path.write_text(text)
    plan.schedule = plan.daemon()
    assert [notice.code for notice in plan.schedule.notices()] == ["schedule-unreadable"]
    assert plan.tick() == []
    assert path.read_text() == text
    plan.schedule.put([DAY], None)
    assert plan.schedule.notices() == ()
    assert json.loads(path.read_text())["rows"][0]["name"] == "day"


def test_the_file_says_what_was_written(tmp_path: Path) -> None:
    row = Row("x", days=frozenset({1}), start=time(8), stop=time(9, 30))
    table = Timetable((row,), 7, {"x": 5})
    timetable.write(tmp_path / "s.json", table)
    assert timetable.read(tmp_path / "s.json") == table
    assert timetable.read(tmp_path / "none.json") == Timetable()


def test_a_row_is_wanted_inside_its_window_only(plan: Plan) -> None:
    plan.schedule.put([NOON], 0)
    plan.at("11:59")
    assert not plan.schedule.wants("noon")
    plan.at("12:00")
    assert plan.schedule.wants("noon")
    plan.schedule.note_stop("noon")
    assert not plan.schedule.wants("noon")
    assert not plan.schedule.wants("nobody")


def test_it_ends_what_an_earlier_daemon_started(plan: Plan) -> None:
    plan.schedule.put([NOON], 0)
    plan.at("12:00")
    plan.rig.source.emit(10)
    eventually(lambda: plan.rig.committed() == 10)
    plan.rig.utc.pass_s(3 * 3600)
    plan.restart()
    (line,) = plan.tick()
    assert "[noon] was ended, its stop time has come" in line
