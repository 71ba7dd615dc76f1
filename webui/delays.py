"""Growing delays for wrong passwords, so that nobody guesses one and nobody is locked out.

Counted for a pair of account and address: whoever guesses from elsewhere does
not keep the owner out. A delay holds no worker: the answer is 429 and says when
to come back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from threading import Lock

from fwdcap.errors import TooMany

FREE = 5
MOST_S = 60.0
FORGOTTEN_S = 900.0
PAIRS = 4096

Pair = tuple[str, str]


@dataclass(frozen=True)
class _Failures:
    count: int
    at_s: float

    @property
    def until_s(self) -> float:
        """1, 2, 4 … seconds after the failures that are free."""
        over = self.count - FREE
        return self.at_s + min(MOST_S, 2.0 ** min(over, 16)) if over >= 0 else self.at_s


class Delays:
    """What failed lately; the pairs that failed longest ago are forgotten first."""

    def __init__(self, clock: Callable[[], float], pairs: int = PAIRS) -> None:
        self._clock = clock
        self._pairs = pairs
        self._lock = Lock()
        self._failed: OrderedDict[Pair, _Failures] = OrderedDict()

    def check(self, name: str, address: str) -> None:
        """Raises TooMany while that account is to wait, at that address."""
        with self._lock:
            known = self._failed.get((name[:128], address))
        left_s = known.until_s - self._clock() if known else 0.0
        if left_s > 0:
            raise TooMany(
                "There were too many wrong passwords for this account from this address.",
                code="too-many-logins",
                hint=f"Wait for {ceil(left_s)} s, then try again.",
                retry_s=ceil(left_s),
            )

    def failed(self, name: str, address: str) -> None:
        """Counts a wrong password."""
        pair, now_s = (name[:128], address), self._clock()
        with self._lock:
            known = self._failed.pop(pair, None)
            fresh = known is not None and now_s - known.at_s < FORGOTTEN_S
            count = known.count + 1 if known is not None and fresh else 1
            self._failed[pair] = _Failures(count, now_s)
            while len(self._failed) > self._pairs:
                self._failed.popitem(last=False)

    def passed(self, name: str, address: str) -> None:
        """Forgets the failures of a pair that has logged in."""
        with self._lock:
            self._failed.pop((name[:128], address), None)
