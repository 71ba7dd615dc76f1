"""The schedule over weeks of a made-up clock, and over the days on which clocks are changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwdcap.capture import schedule
from fwdcap.capture.rows import Row
from fwdcap.capture.schedule import Action, Do, Moment, Running, Window

pytestmark = pytest.mark.unit

NS = 1_000_000_000
MINUTE_NS = 60 * NS
BERLIN = ZoneInfo("Europe/Berlin")  # 2026: forward 29 March 02:00, back 25 October 03:00
NEW_YORK = ZoneInfo("America/New_York")  # 2026: forward 8 March 02:00, back 1 November 02:00
SAO_PAULO = ZoneInfo("America/Sao_Paulo")  # 2018: forward 4 November 00:00
KATHMANDU = ZoneInfo("Asia/Kathmandu")  # UTC+05:45
DAILY = frozenset(range(7))


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


def at(text: str, zone: tzinfo = UTC, **of: object) -> Moment:
    """That moment (UTC) looked at from `zone`."""
    return Moment(utc(text), zone, **of)  # type: ignore[arg-type]


def row(start: str, stop: str, days: frozenset[int] = DAILY, name: str = "x") -> Row:
    return Row(name, days=days, start=time.fromisoformat(start), stop=time.fromisoformat(stop))


ALWAYS = Row("all", always=True)


def span(of: Row, moment: Moment) -> tuple[str, str] | None:
    """The window, in UTC."""
    found = schedule.window(of, moment)
    return (shown(found.start_ns), shown(found.stop_ns)) if found else None


def shown(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).strftime("%m-%d %H:%M")


# ---- windows


@pytest.mark.parametrize(
    ("now", "window"),
    [
        ("2026-06-10 07:59:59", None),
        ("2026-06-10 08:00:00", ("06-10 08:00", "06-10 18:00")),
        ("2026-06-10 17:59:59", ("06-10 08:00", "06-10 18:00")),
        ("2026-06-10 18:00:00", None),
    ],
)
def test_a_window_is_half_open(now: str, window: tuple[str, str] | None) -> None:
    assert span(row("08:00", "18:00"), at(now)) == window


def test_a_window_over_midnight_belongs_to_the_day_it_begins_on() -> None:
    friday = row("22:00", "04:00", frozenset({4}))
    assert span(friday, at("2026-06-12 23:00")) == ("06-12 22:00", "06-13 04:00")
    assert span(friday, at("2026-06-13 03:59")) == ("06-12 22:00", "06-13 04:00")
    assert span(friday, at("2026-06-12 03:00")) is None
    assert span(friday, at("2026-06-13 23:00")) is None


def test_equal_times_are_a_whole_day() -> None:
    assert span(row("06:00", "06:00"), at("2026-06-10 05:00")) == ("06-09 06:00", "06-10 06:00")


def test_a_24_7_row_has_days_that_begin_at_the_roll_time() -> None:
    assert span(ALWAYS, at("2026-06-10 05:00")) == ("06-10 00:00", "06-11 00:00")
    late = at("2026-06-10 05:00", roll=time(6))
    assert span(ALWAYS, late) == ("06-09 06:00", "06-10 06:00")


def test_windows_are_in_the_zone() -> None:
    """08:00 to 18:00 in Kathmandu."""
    day = row("08:00", "18:00")
    assert span(day, at("2026-06-10 03:00", KATHMANDU)) == ("06-10 02:15", "06-10 12:15")
    assert span(day, at("2026-06-10 02:14", KATHMANDU)) is None


def test_the_weekday_is_the_zones() -> None:
    """Sunday 20:00 in New York is Monday in UTC."""
    sunday = row("18:00", "22:00", frozenset({6}))
    assert span(sunday, at("2026-06-15 00:00", NEW_YORK)) == ("06-14 22:00", "06-15 02:00")


def test_the_next_window() -> None:
    office = row("08:00", "18:00", frozenset(range(5)))

    def following(now: str) -> str:
        found = schedule.following_ns(office, at(now))
        assert found is not None
        return shown(found)

    assert following("2026-06-10 07:00") == "06-10 08:00"
    assert following("2026-06-10 08:00") == "06-11 08:00"  # this one has begun
    assert following("2026-06-12 12:00") == "06-15 08:00"  # over a week-end


def test_a_window_swallowed_by_the_clock_is_no_next_one() -> None:
    gone = row("02:10", "02:50", frozenset({6}))
    found = schedule.following_ns(gone, at("2026-03-27 12:00", BERLIN))
    assert found is not None
    assert shown(found) == "04-05 00:10"


# ---- the days on which clocks are changed


@pytest.mark.parametrize(
    ("zone", "day", "local", "means"),
    [
        (BERLIN, date(2026, 3, 29), time(1, 59), "03-29 00:59"),
        (BERLIN, date(2026, 3, 29), time(2), "03-29 01:00"),  # the jump
        (BERLIN, date(2026, 3, 29), time(2, 30), "03-29 01:00"),  # skipped
        (BERLIN, date(2026, 3, 29), time(3), "03-29 01:00"),
        (BERLIN, date(2026, 3, 29), time(3, 1), "03-29 01:01"),
        (BERLIN, date(2026, 10, 25), time(1, 59), "10-24 23:59"),
        (BERLIN, date(2026, 10, 25), time(2, 30), "10-25 00:30"),  # the first of two
        (BERLIN, date(2026, 10, 25), time(3), "10-25 02:00"),
        (NEW_YORK, date(2026, 3, 8), time(2, 30), "03-08 07:00"),
        (NEW_YORK, date(2026, 11, 1), time(1, 30), "11-01 05:30"),
        (SAO_PAULO, date(2018, 11, 4), time(0), "11-04 03:00"),  # a midnight that never was
    ],
)
def test_a_wall_clock_time_means_one_moment(
    zone: ZoneInfo, day: date, local: time, means: str
) -> None:
    assert shown(schedule.moment_ns(day, local, zone)) == means


def test_a_start_in_the_skipped_hour_is_at_the_jump() -> None:
    assert span(row("02:30", "05:00"), at("2026-03-29 01:00", BERLIN)) == (
        "03-29 01:00",
        "03-29 03:00",
    )


def test_a_window_inside_the_skipped_hour_does_not_happen() -> None:
    gone = row("02:10", "02:50")
    for minute in range(0, 180, 5):
        now = Moment(utc("2026-03-29 00:00") + minute * MINUTE_NS, BERLIN)
        assert schedule.window(gone, now) is None


def test_the_night_on_which_clocks_go_back_is_an_hour_longer() -> None:
    night = row("22:00", "06:00")
    found = schedule.window(night, at("2026-10-25 00:30", BERLIN))
    assert found is not None
    assert (found.stop_ns - found.start_ns) // NS == 9 * 3600


def test_rows_that_touch_touch_when_clocks_change() -> None:
    early, later = row("00:00", "02:30"), row("02:30", "06:00")
    for day in ("2026-03-29", "2026-10-25", "2026-06-10"):
        first = schedule.window(early, at(f"{day} 00:00", BERLIN))
        second = schedule.window(later, at(f"{day} 02:00", BERLIN))
        assert first is not None
        assert second is not None
        assert first.stop_ns == second.start_ns


@given(
    st.sampled_from([UTC, BERLIN, NEW_YORK, SAO_PAULO, KATHMANDU]),
    st.dates(date(2015, 1, 1), date(2030, 1, 1)),
    st.builds(time, st.integers(0, 23), st.integers(0, 59)),
    st.builds(time, st.integers(0, 23), st.integers(0, 59)),
)
def test_later_on_the_clock_is_never_earlier(
    zone: tzinfo, day: date, one: time, other: time
) -> None:
    first, last = sorted((one, other))
    assert schedule.moment_ns(day, first, zone) <= schedule.moment_ns(day, last, zone)
    assert (
        schedule.moment_ns(day, last, zone)
        <= schedule.moment_ns(day + timedelta(days=1), first, zone)
        or first == last == time()
    )


@given(
    st.sampled_from([UTC, BERLIN, NEW_YORK, SAO_PAULO]),
    st.dates(date(2015, 1, 1), date(2030, 1, 1)),
    st.builds(time, st.integers(0, 23), st.integers(0, 59)),
)
def test_the_days_of_a_24_7_row_have_no_gap(zone: tzinfo, day: date, roll: time) -> None:
    now_ns = schedule.moment_ns(day, time(12), zone)
    for _ in range(3):
        found = schedule.window(ALWAYS, Moment(now_ns, zone, roll=roll))
        assert found is not None
        assert found.start_ns <= now_ns < found.stop_ns
        assert 22 * 3600 * NS <= found.stop_ns - found.start_ns <= 26 * 3600 * NS
        now_ns = found.stop_ns


# ---- what is due


DAY = row("08:00", "18:00", name="day")
LUNCH = row("12:00", "13:00", name="lunch")


def running(of: Row | None = None, since: str = "2026-06-10 08:00") -> Running:
    return Running(of.name if of else "manual", of.name if of else "", utc(since))


def test_a_row_starts_when_its_window_begins() -> None:
    assert schedule.due([DAY], at("2026-06-10 07:59:59")) == Action()
    assert schedule.due([DAY], at("2026-06-10 08:00")) == Action(
        Do.START, "day", due_ns=utc("2026-06-10 08:00")
    )


def test_a_missed_start_happens_late_while_its_window_lasts() -> None:
    action = schedule.due([DAY], at("2026-06-10 17:59:59"))
    assert (action.do, action.due_ns) == (Do.START, utc("2026-06-10 08:00"))
    assert schedule.due([DAY], at("2026-06-10 18:00")) == Action()


def test_a_disabled_row_does_nothing() -> None:
    off = replace(DAY, enabled=False)
    assert schedule.due([off], at("2026-06-10 09:00")) == Action()
    assert schedule.waiting([off], at("2026-06-10 09:00", running=running())) == ()


def test_a_running_row_is_left_alone_until_its_stop() -> None:
    assert schedule.due([DAY], at("2026-06-10 17:59:59", running=running(DAY))) == Action()
    over = schedule.due([DAY], at("2026-06-10 18:00", running=running(DAY)))
    assert (over.do, over.row, over.why) == (Do.STOP, "day", "its stop time has come")


def test_a_stop_that_was_missed_happens_late() -> None:
    assert schedule.due([DAY], at("2026-06-11 03:00", running=running(DAY))).do is Do.STOP


@pytest.mark.parametrize(
    ("rows", "why"),
    [([], "its row was removed"), ([replace(DAY, enabled=False)], "its row was disabled")],
)
def test_a_capture_goes_with_its_row(rows: list[Row], why: str) -> None:
    action = schedule.due(rows, at("2026-06-10 09:00", running=running(DAY)))
    assert (action.do, action.why) == (Do.STOP, why)


def test_a_persons_capture_is_nobody_elses_to_stop() -> None:
    now = at("2026-06-10 18:00", running=running())
    assert schedule.due([DAY], now) == Action()


def test_a_due_row_waits_for_the_running_capture() -> None:
    now = at("2026-06-10 12:30", running=running(DAY))
    assert schedule.due([DAY, LUNCH], now) == Action()
    assert schedule.waiting([DAY, LUNCH], now) == ("lunch",)
    assert schedule.waiting([DAY, LUNCH], at("2026-06-10 13:00", running=running(DAY))) == ()
    ended = at("2026-06-10 12:45", stopped={"day": utc("2026-06-10 12:45")})
    assert schedule.due([DAY, LUNCH], ended).row == "lunch"


def test_the_longest_overdue_goes_first_then_the_order_of_rows() -> None:
    now = at("2026-06-10 12:30")
    assert schedule.due([LUNCH, DAY], now).row == "day"
    second = replace(LUNCH, name="second")
    assert schedule.due([second, LUNCH], now).row == "second"


def test_a_row_that_is_held_lets_others_go_first() -> None:
    now = at("2026-06-10 12:30")
    assert schedule.due([DAY, LUNCH], now, frozenset({"day"})).row == "lunch"
    assert schedule.due([DAY], now, frozenset({"day"})) == Action()


def test_stopped_by_hand_a_row_starts_at_its_next_start_time_only() -> None:
    stopped = {"day": utc("2026-06-10 09:00")}
    assert schedule.due([DAY], at("2026-06-10 09:00", stopped=stopped)) == Action()
    assert schedule.due([DAY], at("2026-06-10 17:59", stopped=stopped)) == Action()
    assert schedule.due([DAY], at("2026-06-11 08:00", stopped=stopped)).do is Do.START


def test_stopped_by_hand_a_24_7_row_starts_with_the_next_day() -> None:
    stopped = {"all": utc("2026-06-10 09:00")}
    assert schedule.due([ALWAYS], at("2026-06-10 23:59", stopped=stopped)) == Action()
    assert schedule.due([ALWAYS], at("2026-06-11 00:00", stopped=stopped)).do is Do.START


def test_a_24_7_capture_rolls_at_the_roll_time() -> None:
    started = running(ALWAYS, "2026-06-10 08:00")

    def do(now: str, roll: time | None) -> Do:
        return schedule.due([ALWAYS], at(now, running=started, roll=roll)).do

    assert do("2026-06-10 23:59:59", time(0)) is Do.NOTHING
    assert do("2026-06-11 00:00:00", time(0)) is Do.ROLL
    assert do("2026-06-11 00:00:00", time(3)) is Do.NOTHING
    assert do("2026-06-11 03:00:00", time(3)) is Do.ROLL
    assert do("2026-06-11 09:00:00", None) is Do.NOTHING
    rolled = running(ALWAYS, "2026-06-11 00:00")
    later = at("2026-06-11 12:00", running=rolled, roll=time(0))
    assert schedule.due([ALWAYS], later) == Action()


def test_windows_that_touch_roll_instead_of_stopping() -> None:
    whole = row("00:00", "00:00", name="whole")
    action = schedule.due([whole], at("2026-06-11 00:00", running=running(whole)))
    assert (action.do, action.row) == (Do.ROLL, "whole")


def test_a_clock_set_back_after_a_roll_does_not_roll_again() -> None:
    rolled = running(ALWAYS, "2026-06-11 00:00")
    for now in ("2026-06-10 23:59:50", "2026-06-11 00:00:00", "2026-06-11 00:00:01"):
        assert schedule.due([ALWAYS], at(now, running=rolled, roll=time(0))) == Action()


# ---- weeks of a made-up clock


@dataclass
class Box:
    """An appliance that does what the schedule asks for; `log` is what it did."""

    rows: Sequence[Row]
    zone: tzinfo
    roll: time | None = None
    running: Running | None = None
    stopped: dict[str, int] = field(default_factory=dict)
    log: list[tuple[Do, str, int]] = field(default_factory=list)

    def tick(self, now_ns: int) -> None:
        while True:
            moment = Moment(now_ns, self.zone, self.running, self.stopped, self.roll)
            action = schedule.due(self.rows, moment)
            if action.do is Do.NOTHING:
                return
            self.log.append((action.do, action.row, now_ns))
            if action.do is Do.STOP:
                self.running = None
            else:
                self.running = Running(action.row, action.row, now_ns)

    def press_stop(self, now_ns: int) -> None:
        if self.running is not None:
            self.stopped[self.running.row] = now_ns
            self.running = None


def quarters(begin: str, days: int) -> Iterator[int]:
    begin_ns = utc(begin)
    yield from (begin_ns + at * 15 * MINUTE_NS for at in range(days * 24 * 4))


day_times = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
any_row = st.builds(
    Row,
    name=st.just("x"),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=day_times,
    stop=day_times,
)


def covered(of: Row, wall: datetime) -> bool:
    """Does that row record at that time, said without windows."""
    clock, today, yesterday = wall.time(), wall.weekday(), (wall.weekday() - 1) % 7
    if of.start < of.stop:
        return today in of.days and of.start <= clock < of.stop
    return (today in of.days and clock >= of.start) or (yesterday in of.days and clock < of.stop)


@settings(max_examples=25, deadline=None)
@given(any_row, st.sampled_from([UTC, KATHMANDU]), st.integers(0, 60))
def test_over_weeks_a_row_records_in_its_windows_and_only_there(
    of: Row, zone: tzinfo, skip: int
) -> None:
    """Any look may be missed: the next one makes up for it."""
    box = Box([of], zone)
    for at_, now_ns in enumerate(quarters("2026-06-01 00:00", 15)):
        if skip and at_ % 97 < skip // 2:
            continue
        box.tick(now_ns)
        wall = datetime.fromtimestamp(now_ns // NS, zone)
        assert (box.running is not None) == covered(of, wall), wall


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
@pytest.mark.parametrize("month", ["2026-03-01 12:00", "2026-10-20 12:00"])
def test_through_a_change_of_clocks_every_night_has_one_start_and_one_stop(
    zone: ZoneInfo, month: str
) -> None:
    box = Box([row("22:00", "05:00")], zone)
    for now_ns in quarters(month, 30):
        box.tick(now_ns)
    starts = [datetime.fromtimestamp(ns // NS, zone) for do, _, ns in box.log if do is Do.START]
    stops = [datetime.fromtimestamp(ns // NS, zone) for do, _, ns in box.log if do is Do.STOP]
    assert {each.time() for each in starts} == {time(22)}
    assert {each.time() for each in stops} == {time(5)}
    assert len(starts) == len(stops) == 30


@pytest.mark.parametrize("zone", [UTC, BERLIN, NEW_YORK])
def test_a_24_7_row_rolls_once_a_day_and_never_stops(zone: tzinfo) -> None:
    box = Box([ALWAYS], zone, roll=time(2, 30))
    for now_ns in quarters("2026-03-01 12:00", 40):
        box.tick(now_ns)
    assert [do for do, _, _ in box.log] == [Do.START] + [Do.ROLL] * 40
    days = {datetime.fromtimestamp(ns // NS, zone).date() for _, _, ns in box.log[1:]}
    assert len(days) == 40


@settings(max_examples=25, deadline=None)
@given(st.lists(any_row, min_size=2, max_size=4), st.integers(0, 14 * 96), st.integers(0, 14 * 96))
def test_with_several_rows_no_due_one_is_forgotten(
    rows: list[Row], pressed: int, pressed_again: int
) -> None:
    """Whatever runs, waits or is stopped by hand: idle means that nobody wants to record."""
    named = [replace(each, name=f"r{at_}") for at_, each in enumerate(rows)]
    box = Box(named, UTC)
    for at_, now_ns in enumerate(quarters("2026-06-01 00:00", 14)):
        box.tick(now_ns)
        if at_ in (pressed, pressed_again):
            box.press_stop(now_ns)
            box.tick(now_ns)
        moment = Moment(now_ns, UTC, box.running, box.stopped)
        wall = datetime.fromtimestamp(now_ns // NS, UTC)
        wanting = {
            each.name
            for each in named
            if covered(each, wall) and not _stopped_in_this_window(each, moment)
        }
        if box.running is None:
            assert not wanting
        else:
            assert box.running.row in wanting
            assert set(schedule.waiting(named, moment)) == wanting - {box.running.row}


def _stopped_in_this_window(of: Row, moment: Moment) -> bool:
    found = schedule.window(of, moment)
    assert isinstance(found, Window)
    return moment.stopped.get(of.name, -1) >= found.start_ns
