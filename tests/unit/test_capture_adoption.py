"""What becomes of a stream that an earlier daemon left recording."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdcap.capture.adoption import Found, Step, decide

pytestmark = pytest.mark.unit

RUNNING = Found(alive=True, path=True, same=True, active=True, waiting=False, taken=False)
NO_PATH = replace(RUNNING, path=False, same=False, active=False)


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (RUNNING, Step.GO_ON),
        (replace(RUNNING, alive=False), Step.RESTART),
        (replace(RUNNING, active=False), Step.RECOVER),
        (replace(RUNNING, alive=False, active=False), Step.RECOVER),
        (replace(RUNNING, same=False), Step.RECOVER),
        (replace(RUNNING, taken=True), Step.RECOVER),
        (NO_PATH, Step.GO_ON),
        (replace(NO_PATH, alive=False), Step.RECOVER),
        (replace(NO_PATH, alive=False, waiting=True), Step.LEAVE),
    ],
)
def test_the_step_for_what_is_found(found: Found, step: Step) -> None:
    assert decide(found) is step
