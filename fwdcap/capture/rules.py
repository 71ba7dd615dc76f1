"""What the settings say about the store's size, in bytes of the disks there are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fwdcap.amounts import Size
from fwdcap.capture.folder import MIN_FREE_BYTES
from fwdcap.config import Store
from fwdcap.store.archive import Space
from fwdcap.store.retention import Limits

_HALF = Size(percent=50.0)


@dataclass(frozen=True)
class Rules:
    """[store] max_bytes, max_age, min_free, archive, archive_above and segment_bytes."""

    max_bytes: Size | None = None
    max_age_ns: int | None = None
    min_free: Size | None = None
    archive: Path | None = None
    archive_above: Size = _HALF
    segment_bytes: int = 1_000_000_000

    @classmethod
    def of(cls, store: Store) -> Rules:
        return cls(
            max_bytes=store.max_bytes,
            max_age_ns=store.max_age,
            min_free=store.min_free,
            archive=store.archive,
            archive_above=store.archive_above,
            segment_bytes=store.segment_bytes,
        )

    def limits(self, total_bytes: int, space: Space | None) -> Limits:
        """The limits on a file system of that size and an archive, which may be away."""
        there_bytes = space.total_bytes if space is not None else 0
        archives = self.archive is not None and space is not None
        return Limits(
            max_bytes=self.max_bytes.of(total_bytes + there_bytes) if self.max_bytes else None,
            max_age_ns=self.max_age_ns,
            min_free_bytes=self._min_free_bytes(total_bytes),
            archive_min_free_bytes=self.min_free.of(there_bytes) if self.min_free else None,
            archive_above_bytes=self.archive_above.of(total_bytes) if archives else None,
        )

    def _min_free_bytes(self, total_bytes: int) -> int | None:
        """At least what a capture needs to begin.

        Where only other limits are set, a disk that is full before they are
        reached is kept free all the same, by a segment; without any limit
        nothing is ever deleted.
        """
        half = total_bytes // 2
        if self.min_free is not None:
            asked = self.min_free.of(total_bytes)
            return max(asked, min(MIN_FREE_BYTES, half)) if asked else None
        if self.max_bytes is None and self.max_age_ns is None:
            return None
        return min(max(self.segment_bytes, 2 * MIN_FREE_BYTES), half)
