"""What is to be done to the files of one segment, and doing it.

A value between finding and deed, so that a dry run says what a repair would do.
The order is the one that loses nothing when it is interrupted: what is no
record is saved before the segment is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from fwdcap.store import durable, pcap
from fwdcap.store.examine import Care, Finding, Rest, Told, examine
from fwdcap.store.index_files import ENTRY_BYTES
from fwdcap.store.indexer import Totals
from fwdcap.store.segments import SUFFIX

TAG_BYTES = 8
SUFFIXES = (SUFFIX, ".index", ".tags")


@dataclass(frozen=True)
class Repair:
    """A segment as found, and how its three files differ from what they should be.

    `indexes`: its index must be written; `aside`: the file for what is no record.
    """

    stem: Path
    finding: Finding
    records: int
    entries: int
    indexes: bool
    tags_bytes: int
    has_tags: bool
    aside: Path | None

    @property
    def record_bytes(self) -> int:
        return self.finding.length - pcap.FILE_HEADER_BYTES

    @property
    def cuts(self) -> bool:
        return self.finding.header_wrong or self.finding.size != self.finding.length

    @property
    def tags(self) -> bool:
        return self.tags_bytes != self.records * TAG_BYTES or not self.has_tags

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self.cuts or self.indexes or self.tags

    def notes(self) -> Iterator[str]:
        """What there is to say, in sentences."""
        found, name = self.finding, f"Segment {self.stem.name}"
        if self.aside:
            yield (
                f"{name} held {found.rest_bytes:,} bytes from {found.length:,} on that are no "
                f"records, they are kept in {self.aside.name}."
            )
        if found.rest is Rest.CUT:
            yield f"{name} ended in the middle of a record, which was cut off."
        if found.header_wrong and self.records:
            yield f"{name} had no pcap header and got one."
        if self.indexes and self.records:
            yield f"{name} was indexed again."
        unknown = self.records - self.tags_bytes // TAG_BYTES
        if unknown > 0:
            yield f"{name} has packets without a tag, their route is not known: {unknown:,}."

    def apply(self) -> None:
        """Does it; on return all is on disk but the names. Raises OSError."""
        found = self.finding
        segment, index, tags = (self.stem.with_suffix(suffix) for suffix in SUFFIXES)
        if self.aside:
            durable.copy_out(segment, found.length, found.rest_bytes, self.aside)
            durable.sync_directory(self.aside.parent)
        if self.cuts:
            durable.resize(segment, found.length, found.header if found.header_wrong else b"")
        if self.indexes:
            durable.replace(index, found.index)
        if self.tags:
            # First to a whole tag: growing would make one of half an old and half a zero.
            whole = min(self.tags_bytes // TAG_BYTES, self.records)
            durable.resize(tags, whole * TAG_BYTES)
            durable.resize(tags, self.records * TAG_BYTES)

    def summary(self) -> Repair:
        """This without the content of its index."""
        return replace(self, finding=replace(self.finding, index=b""))

    def remove(self) -> None:
        """Takes the segment away; what `apply` set aside stays. Raises OSError."""
        for suffix in SUFFIXES:
            self.stem.with_suffix(suffix).unlink(missing_ok=True)


def plan(stem: Path, before: Totals, first_ns: int, length: int | None, care: Care) -> Repair:
    """What to do about the segment whose files begin with `stem`. Raises OSError.

    `before` is the stream up to it, `first_ns` the time of the stream's first
    record (0: not known), `length` what the checkpoint says of it, if it does.
    """
    segment, index_file, tags = (stem.with_suffix(suffix) for suffix in SUFFIXES)
    index = index_file.read_bytes() if index_file.exists() else b""
    has_tags = tags.exists()
    tags_bytes = tags.stat().st_size if has_tags else 0
    told = Told(tags_bytes // TAG_BYTES or None, length)
    found = examine(segment, index, before, first_ns, told, care)
    aside = _free_name(stem.with_suffix(".damaged")) if found.rest is Rest.DAMAGE else None
    records = found.totals.packets - before.packets
    return Repair(
        stem=stem,
        finding=found,
        records=records,
        entries=len(found.index) // ENTRY_BYTES,
        indexes=index != found.index or not index_file.exists(),
        tags_bytes=tags_bytes,
        has_tags=has_tags,
        aside=aside,
    )


def _free_name(path: Path) -> Path:
    """That name, or with -2, -3 … where earlier recoveries left one."""
    if not path.exists():
        return path
    names = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(name for name in names if not name.exists())
