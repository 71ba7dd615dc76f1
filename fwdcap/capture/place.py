"""What a capture is made from: the data path it is fed by, the place it is written to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fwdcap import abi
from fwdcap.capture import folder, recorder
from fwdcap.capture.accounts import Accounts
from fwdcap.capture.home import Home
from fwdcap.store.stream_json import Interfaces


class Source(Protocol):
    """What a capture needs of the data path; calls but `pins` raise Unavailable without one."""

    def pins(self) -> Path | None: ...
    def activate(self, snaplen: int) -> None: ...
    def deactivate(self) -> None: ...
    def capture_active(self) -> bool: ...
    def cpu_states(self) -> list[abi.CpuState]: ...
    def interface_counts(self) -> Interfaces: ...


@dataclass(frozen=True)
class Place:
    """Where and as whom captures are written; sizes in bytes, snaplen 0 for whole frames."""

    store: Path
    zone: str
    accounts: Accounts
    segment_bytes: int
    snaplen: int = 0
    program: tuple[str, ...] = (str(recorder.PROGRAM),)
    home: Home | None = None

    def away(self) -> bool:
        """Whether the store itself is not there, rather than a stream of it."""
        if self.home is not None and self.home.trouble() is not None:
            return True
        return not folder.streams_directory(self.store).is_dir()

    def directory(self, stream: str) -> Path:
        return folder.streams_directory(self.store) / stream
