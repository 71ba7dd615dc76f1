"""What the glance on the Capture page says of endings, hangs and losses."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from web_fakes import NOW_NS, SECOND_NS, idle_status

from webui.overview import of_status

pytestmark = pytest.mark.unit


def glance(part: str, **capture: Any) -> tuple[str, str, str]:
    """Headline, detail and state of that part."""
    now = idle_status()
    now["capture"] |= {"name": "x", "stream": "x_20150620_1128", "started_ns": NOW_NS, **capture}
    found = of_status(now, UTC)
    return found.values[f"{part}.headline"], found.values[f"{part}.detail"], found.states[part]


def test_a_capture_that_ended_by_its_cap_says_by_which() -> None:
    told = glance("recording", message="capture [x] ended: 10,000,000,000 bytes reached")
    assert told == ("Not recording", "Capture [x] ended: 10,000,000,000 bytes reached.", "idle")


def test_a_recorder_in_trouble_is_told_while_it_records() -> None:
    message = "The recorder has not reported for 4 s."
    told = glance("recording", active=True, recorder="running", message=message)
    assert told == ("Recording", message, "warn")


def test_a_stop_that_takes_its_time_says_how_far_it_is() -> None:
    message = "Stopping: 1,234 records are still to be written."
    told = glance("recording", active=True, recorder="stopping", message=message)
    assert told == ("Stopping", message, "warn")


def episode(first_s: int, last_s: int, records: int) -> dict[str, Any]:
    return {
        "ring": 0,
        "reason": "ring-full",
        "records": records,
        "first_ns": NOW_NS + first_s * SECOND_NS,
        "last_ns": NOW_NS + last_s * SECOND_NS,
    }


def test_losses_say_why_and_from_when_to_when() -> None:
    lost = {"ring-full": 1200, "copy": 0, "disk": 0, "unknown": 0}
    told = glance(
        "lost", lost_records=1200, lost=lost, losses=[episode(0, 1, 1000), episode(60, 63, 200)]
    )
    assert told == (
        "1,200 lost",
        "In the last capture: ring full 1,200, 2015-06-20 11:29:56 to 11:30:59.",
        "bad",
    )


def test_losses_over_days_say_both_days() -> None:
    lost = {"ring-full": 1, "copy": 0, "disk": 0, "unknown": 0}
    _, detail, _ = glance("lost", lost_records=1, lost=lost, losses=[episode(0, 86_400, 1)])
    assert detail.endswith("2015-06-20 11:29:56 to 2015-06-21 11:29:56.")


def test_every_loss_is_told_with_its_ring_and_times_the_latest_first() -> None:
    now = idle_status()
    disk = {**episode(60, 63, 200), "ring": None, "reason": "disk"}
    now["capture"] |= {"losses": [episode(0, 1, 1000), disk]}
    found = of_status(now, UTC)
    assert [(row.why, row.ring, row.since) for row in found.losses] == [
        ("disk", "—", "2015-06-20 11:30:56"),
        ("ring full", "0", "2015-06-20 11:29:56"),
    ]
    key = found.losses[0].key
    assert found.values[f"{key}.records"] == "200"
    assert found.values[f"{key}.until"] == "2015-06-20 11:30:59"


def test_a_loss_that_goes_on_changes_numbers_and_a_new_one_the_layout() -> None:
    def layout(*losses: dict[str, Any]) -> str:
        now = idle_status()
        now["capture"] |= {"losses": list(losses)}
        return of_status(now, UTC).layout

    assert layout(episode(0, 1, 1000)) == layout(episode(0, 2, 3000))
    assert layout(episode(0, 1, 1000)) != layout(episode(0, 1, 1000), episode(9, 9, 1))
