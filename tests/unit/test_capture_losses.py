"""Losses as episodes: whose they are, when they were, and that they add up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap import abi
from fwdcap.abi import Loss
from fwdcap.capture import losses
from fwdcap.capture.losses import MAX_EPISODES, Episode, Look

pytestmark = pytest.mark.unit

S = 10**9
OFFSET = 1_000_000 * S
FULL: losses.Key = (0, Loss.RING_FULL)


def cpu(full: int = 0, copy: int = 0, first_ns: int = 0, last_ns: int = 0) -> abi.CpuState:
    state = abi.CpuState(first_loss_ns=first_ns, last_loss_ns=last_ns)
    state.lost_records[Loss.RING_FULL] = full
    state.lost_records[Loss.COPY] = copy
    return state


def report(rings: int = 1, disk: int = 0, disk_before: int = 0) -> abi.Checkpoint:
    value = abi.Checkpoint(nr_rings=rings, clock_offset_ns=OFFSET)
    value.lost_records[Loss.DISK] = disk
    value.lost_before[Loss.DISK] = disk_before
    return value


def seen(count: int, since_s: float, now_s: float) -> Look:
    """A look without the program's own times."""
    return Look({FULL: count}, {}, int(since_s * S), int(now_s * S))


def test_cpus_are_counted_by_ring() -> None:
    states = [cpu(1), cpu(10), cpu(100), cpu(1000, copy=5)]
    table = losses.look(states, report(rings=2), 0, S).table
    assert table == {(0, Loss.RING_FULL): 101, (1, Loss.RING_FULL): 1010, (1, Loss.COPY): 5}


def test_what_the_disk_lost_is_no_rings() -> None:
    table = losses.look([cpu()], report(disk=3, disk_before=4), 0, S).table
    assert table == {(None, Loss.DISK): 7}


@pytest.mark.parametrize(
    ("first_loss_s", "looked_s"),
    [
        (11, 15),  # the recorder waited for room
        (11, 0),  # and no daemon looked in the meantime
        (3, 15),  # a ring had been full before
    ],
)
def test_what_the_disk_lost_begins_behind_the_last_record_on_it(
    first_loss_s: int, looked_s: int
) -> None:
    failed = report(disk=3)
    failed.last_ns, failed.first_loss_ns = 11 * S, first_loss_s * S
    look = losses.look([cpu()], failed, looked_s * S, 16 * S)
    assert losses.grown((), {}, look) == (Episode(None, Loss.DISK, 3, 11 * S, 16 * S),)


def test_the_first_record_that_is_not_on_the_disk_may_be_later() -> None:
    failed = report(disk=3)
    failed.last_ns, failed.first_loss_ns = 11 * S, 14 * S
    (episode,) = losses.grown((), {}, losses.look([cpu()], failed, 0, 16 * S))
    assert episode.first_ns == 14 * S


def test_a_failed_disk_says_nothing_of_the_times_of_a_full_ring() -> None:
    failed = report(disk=3)
    failed.last_ns = 11 * S
    found = losses.grown((), {}, losses.look([cpu(2)], failed, 14 * S, 16 * S))
    assert Episode(0, Loss.RING_FULL, 2, 14 * S, 16 * S) in found


def test_before_the_first_report_there_is_one_ring_and_no_clock() -> None:
    look = losses.look([cpu(1, first_ns=5, last_ns=6), cpu(2)], None, 0, S)
    assert (look.table, look.spans) == ({FULL: 3}, {})


def test_the_programs_own_times_are_taken() -> None:
    states = [cpu(3, first_ns=S // 4, last_ns=S // 2)]
    look = losses.look(states, report(), OFFSET, OFFSET + S)
    (episode,) = losses.grown((), {}, look)
    assert episode == Episode(0, Loss.RING_FULL, 3, OFFSET + S // 4, OFFSET + S // 2)


def test_an_episode_goes_on_while_losses_do() -> None:
    episodes = losses.grown((), {}, seen(10, 0, 1))
    episodes = losses.grown(episodes, {}, seen(10, 1, 2))
    episodes = losses.grown(episodes, {}, seen(25, 2, 3))
    assert episodes == (Episode(0, Loss.RING_FULL, 25, 0, 3 * S),)


def test_a_pause_begins_another_one() -> None:
    episodes = losses.grown((), {}, seen(10, 0, 1))
    episodes = losses.grown(episodes, {}, seen(12, 9, 10))
    assert [(each.records, each.first_ns) for each in episodes] == [(10, 0), (2, 9 * S)]


def test_nothing_new_changes_nothing() -> None:
    episodes = losses.grown((), {}, seen(10, 0, 1))
    assert losses.grown(episodes, {}, seen(10, 5, 6)) == episodes


def test_what_was_lost_before_the_stream_is_not_its_own() -> None:
    (episode,) = losses.grown((), {FULL: 8}, seen(10, 0, 1))
    assert episode.records == 2


def test_a_look_after_a_daemons_absence_takes_in_all_of_it() -> None:
    known = (Episode(0, Loss.RING_FULL, 10, 0, S),)
    (first, second) = losses.grown(known, {}, seen(100, 50, 60))
    assert (first.records, second.records) == (10, 90)


def test_the_list_stays_short_and_loses_no_record() -> None:
    episodes: tuple[Episode, ...] = ()
    for at in range(3 * MAX_EPISODES):
        episodes = losses.grown(episodes, {}, seen(at + 1, 10 * at, 10 * at + 1))
    assert len(episodes) == MAX_EPISODES
    assert sum(each.records for each in episodes) == 3 * MAX_EPISODES
    assert episodes[0].first_ns == 0


def test_what_no_look_saw_is_added_at_the_end() -> None:
    (only,) = losses.settled((), {Loss.UNKNOWN: 5}, 3 * S, 4 * S)
    assert only == Episode(None, Loss.UNKNOWN, 5, 3 * S, 4 * S)
    (more,) = losses.settled((Episode(0, Loss.RING_FULL, 5, 1, 2),), {Loss.RING_FULL: 7}, 0, 9)
    assert (more.records, more.ring) == (7, 0)


def test_what_was_lost_after_a_cap_is_taken_back() -> None:
    episodes = (Episode(0, Loss.RING_FULL, 5, 1, 2), Episode(1, Loss.RING_FULL, 5, 8, 9))
    assert losses.settled(episodes, {Loss.RING_FULL: 5}, 1, 2) == episodes[:1]
    assert losses.settled(episodes, {}, 1, 2) == ()


counts = st.lists(st.integers(0, 50), min_size=1, max_size=20)


@given(counts, st.dictionaries(st.sampled_from(list(Loss)), st.integers(0, 500)))
def test_at_the_end_they_add_up_to_the_final_losses(
    grows: list[int], final: dict[Loss, int]
) -> None:
    episodes: tuple[Episode, ...] = ()
    total = 0
    for at, count in enumerate(grows):
        total += count
        episodes = losses.grown(episodes, {}, seen(total, 5 * at, 5 * at + 1))
        assert sum(each.records for each in episodes) == total
    for reason in Loss:
        settled = losses.settled(episodes, final, 0, S)
        ours = sum(each.records for each in settled if each.reason == reason)
        assert ours == final.get(reason, 0)


def test_they_survive_stream_json() -> None:
    episodes = (Episode(1, Loss.RING_FULL, 5, 1, 2), Episode(None, Loss.DISK, 3, 3, 4))
    text = json.dumps([each.to_dict() for each in episodes])
    assert losses.parse(json.loads(text)) == episodes
    table = {each.key: each.records for each in episodes}
    assert losses.parse_table(json.loads(json.dumps(losses.table_list(table)))) == table


@pytest.mark.parametrize(
    "damaged",
    [{}, {"reason": "hunger"}, {"reason": "disk", "records": "3", "first_ns": 0, "last_ns": 0}],
)
def test_what_is_damaged_is_left_out(damaged: dict[str, object]) -> None:
    assert losses.parse([damaged]) == ()
    assert losses.parse_table(None) == {}
