"""Ending processes: asked first, then told, and gone when this returns."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from fwdcap.errors import Unavailable

_POLITE_S = 5.0
_FINAL_S = 5.0


def end(living: Callable[[], list[int]], polite_s: float = _POLITE_S) -> None:
    """SIGTERM to what `living` reports, SIGKILL to what stays; raises Unavailable."""
    for how, patience_s in ((signal.SIGTERM, polite_s), (signal.SIGKILL, _FINAL_S)):
        for pid in living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        deadline = time.monotonic() + patience_s
        while living():
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        else:
            return
    raise Unavailable(f"Processes {living()} do not end.", code="process-stays")
