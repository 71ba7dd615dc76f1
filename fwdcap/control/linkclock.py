"""Since when the link of the capture interface is up.

The kernel does not say, so fwdcapd remembers when it saw the link come up, in a
file of the store: the time survives a restart of the daemon, and not one of the
machine.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger(__name__)

FILE = "link.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class _Memory:
    boot: str
    interface: str
    ifindex: int
    since_ns: int


class LinkClock:
    """Remembers one interface's link; times are UTC nanoseconds."""

    def __init__(self, store: Path, utc_ns: Callable[[], int]) -> None:
        self._file = store / FILE
        self._utc_ns = utc_ns
        self._memory: _Memory | None = None
        self._loaded = False

    def since_ns(self) -> int:
        """When the link came up; 0 while it is down or unknown."""
        return self._memory.since_ns if self._memory else 0

    def observe(self, interface: str, ifindex: int, up: bool) -> None:
        """Call it every second with what the kernel says."""
        if not self._loaded:
            self._memory, self._loaded = self._read(), True
        old = self._memory
        known = old is not None and (old.interface, old.ifindex) == (interface, ifindex)
        if up and not known:
            self._keep(_Memory(_boot(), interface, ifindex, self._utc_ns()))
        elif not up and old is not None:
            self._keep(None)

    def _read(self) -> _Memory | None:
        try:
            memory = _Memory(**json.loads(self._file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return memory if memory.boot == _boot() else None

    def _keep(self, memory: _Memory | None) -> None:
        self._memory = memory
        temporary = self._file.with_name(f".{FILE}.new")
        try:
            temporary.write_text(json.dumps(asdict(memory) if memory else {}))
            temporary.rename(self._file)
        except OSError as error:
            log.warning("%s could not be written: %s", self._file, error)


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
