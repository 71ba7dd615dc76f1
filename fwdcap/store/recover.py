"""Makes what a crash or a power cut left of a stream whole again.

Every whole record that is on disk is kept; what is no record is set aside in
NNNNNN.damaged, never deleted. Afterwards the files agree: segments end with
their last record, index and tags belong to them, the checkpoint says complete
and stream.json recovered. Tags that are missing become zeros: route 0, which no
route has, so "not known". A second recovery finds nothing to do, and one that
was interrupted is simply done again.

Works without a daemon, and not under a recorder that still writes.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fwdcap import abi
from fwdcap.errors import Conflict, DiskFull, Forbidden, FwdcapError, NotFound, Unavailable
from fwdcap.store import checkpoint, durable, pcap, reconstruct, repair, stream_json
from fwdcap.store.alive import recorder_of
from fwdcap.store.examine import Care
from fwdcap.store.index_files import ENTRY_BYTES
from fwdcap.store.indexer import Totals
from fwdcap.store.repair import TAG_BYTES, Repair
from fwdcap.store.segments import archive_away, segment_numbers
from fwdcap.store.stream_json import State

Outcome = Literal["intact", "recovered", "recording", "failed"]


@dataclass(frozen=True)
class Recovery:
    """What was found of one stream and done about it; after a dry run, what would be.

    `missing_packets` had been reported by the recorder and are not on disk.
    `damaged` names the files that `damaged_bytes` bytes were moved to.
    """

    stream: str
    outcome: Outcome
    packets: int = 0
    size_bytes: int = 0
    segments: int = 0
    missing_packets: int = 0
    damaged_bytes: int = 0
    damaged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def recover(path: Path, *, dry_run: bool = False, thorough: bool = False) -> list[Recovery]:
    """Recovers the store, or the one stream, in `path`; `thorough` looks at every record.

    In a store a stream that is being recorded is left alone, and one that cannot
    be repaired does not stop the others. Raises NotFound where there is neither,
    and for one stream Conflict, Forbidden, DiskFull or Unavailable.
    """
    directories = _streams(path)
    if directories == [path]:
        return [recover_stream(path, dry_run=dry_run, thorough=thorough)]
    return [_one_of_many(directory, dry_run, thorough) for directory in directories]


def recover_stream(directory: Path, *, dry_run: bool = False, thorough: bool = False) -> Recovery:
    """Recovers that stream. Raises Conflict, Forbidden, DiskFull or Unavailable."""
    try:
        pid = recorder_of(directory)
        if pid is not None:
            raise Conflict(
                f"Stream {directory.name} is being recorded by process {pid}.",
                code="still-recording",
                hint="Stop the capture first.",
            )
        with _locked(directory):
            return _Stream(directory, dry_run).recover(thorough)
    except OSError as error:
        raise _refusal(directory.name, error) from error


class _Stream:
    """One stream under repair."""

    def __init__(self, directory: Path, dry_run: bool) -> None:
        self._directory = directory
        self._dry_run = dry_run
        self._said = checkpoint.read(directory / checkpoint.FILE)
        self._words = stream_json.read(directory / stream_json.FILE)
        self._numbers = segment_numbers(directory) or [0]
        self._removed: dict[str, int] = {}

    def recover(self, thorough: bool) -> Recovery:
        said = self._said
        self._require_archive()
        first = self._numbers[0]
        start = reconstruct.start(self._stem(first), first, said, self._words)
        if first:
            self._removed = {
                "segments": first,
                "packets": start.before.packets,
                "bytes": start.before.bytes,
            }
        if said is not None and not thorough and self._is_sealed(said, start.before):
            size_bytes = said.bytes - start.before.bytes + pcap.FILE_HEADER_BYTES
            packets = said.packets - start.before.packets
            found = Recovery(
                self._directory.name, "intact", packets, size_bytes, len(self._numbers)
            )
            return self._put_into_words(found, said, 0)
        return self._repair(start, thorough or start.regrid)

    def _require_archive(self) -> None:
        """Raises Unavailable where a segment moved to an archive that is not there."""
        for number in self._numbers:
            for suffix in repair.SUFFIXES:
                path = self._stem(number).with_suffix(suffix)
                if path.is_symlink() and not path.exists():
                    raise archive_away(self._directory.name)

    def _stem(self, number: int) -> Path:
        return self._directory / f"{number:06}"

    def _is_sealed(self, said: abi.Checkpoint, before: Totals) -> bool:
        """Whether the recorder ended the stream and every file still has the size it said."""
        if said.state == abi.RecorderState.RUNNING or said.segment != self._numbers[-1]:
            return False
        sizes = [self._sizes(number) for number in self._numbers]
        last = (said.segment_bytes, said.segment_index * ENTRY_BYTES, said.segment_tags * TAG_BYTES)
        return (
            sizes[-1] == last
            and all(size >= pcap.FILE_HEADER_BYTES for size, _, _ in sizes)
            and all(index and index % ENTRY_BYTES == 0 for _, index, _ in sizes[:-1])
            and sum(tags for _, _, tags in sizes) == (said.packets - before.packets) * TAG_BYTES
            and sum(size - pcap.FILE_HEADER_BYTES for size, _, _ in sizes)
            == said.bytes - before.bytes
        )

    def _sizes(self, number: int) -> tuple[int, ...]:
        """Bytes of a segment's pcap, index and tags; -1 for one that is missing."""
        stem = self._stem(number)
        paths = (stem.with_suffix(suffix) for suffix in repair.SUFFIXES)
        return tuple(path.stat().st_size if path.exists() else -1 for path in paths)

    # ---- the files of the segments

    def _repair(self, start: reconstruct.Start, every_record: bool) -> Recovery:
        totals, first_ns, said = start.before, start.first_ns, self._said
        done: list[Repair] = []
        for number in self._numbers:
            care = Care.OPEN if number == self._numbers[-1] else Care.SEALED
            length = said.segment_bytes if said and said.segment == number else None
            step = repair.plan(
                self._stem(number),
                totals,
                first_ns,
                length,
                Care.RECORDS if every_record else care,
            )
            if not self._dry_run and step.changes:
                step.apply()
            totals, first_ns = step.finding.totals, step.finding.first_ns
            done.append(step.summary())
        kept = self._without_empty_ends(done)
        return self._conclude(start, done, kept, totals, first_ns)

    def _without_empty_ends(self, done: list[Repair]) -> list[Repair]:
        """Removes segments that were begun and got no record; the first one stays."""
        kept = list(done)
        while len(kept) > 1 and not kept[-1].records:
            empty = kept.pop()
            if not self._dry_run:
                empty.remove()
        return kept

    # ---- checkpoint and stream.json

    def _conclude(
        self,
        start: reconstruct.Start,
        done: list[Repair],
        kept: list[Repair],
        totals: Totals,
        first_ns: int,
    ) -> Recovery:
        said, last = self._said, kept[-1]
        changed = len(kept) < len(done) or any(step.changes for step in done)
        counts = (last.finding.length, last.records, last.entries)
        number = self._numbers[len(kept) - 1]
        report = reconstruct.last_report(said, totals, first_ns, number, counts)
        lost = reconstruct.missing(said, totals)
        if said is None or changed or not _agree(said, report):
            changed = True
            path = self._directory / checkpoint.FILE
            if not self._dry_run:
                durable.replace(path, reconstruct.checkpoint_file(said, report))
        else:
            report = said
        notes = [note for step in done for note in step.notes()]
        if lost:
            notes.append(f"Packets that the recorder had reported and that are missing: {lost:,}.")
        found = Recovery(
            stream=self._directory.name,
            outcome="recovered" if changed else "intact",
            packets=totals.packets - start.before.packets,
            size_bytes=pcap.FILE_HEADER_BYTES + sum(step.record_bytes for step in kept),
            segments=len(kept),
            missing_packets=lost,
            damaged_bytes=sum(step.finding.rest_bytes for step in done if step.aside),
            damaged=tuple(step.aside.name for step in done if step.aside),
            notes=tuple(notes),
        )
        return self._put_into_words(found, report, lost)

    def _put_into_words(self, found: Recovery, report: abi.Checkpoint, lost: int) -> Recovery:
        """Writes stream.json where it is missing, unfinished or no longer true."""
        known = self._words
        if known is not None and known.state != "recording" and found.outcome == "intact":
            return found
        notes = found.notes
        if known is None:
            notes += ("stream.json was missing or damaged: name and times are those of its files.",)
        state: State = "recovered"
        if found.outcome == "intact" and report.state == abi.RecorderState.COMPLETE:
            state = "complete"
        if not self._dry_run:
            value = reconstruct.words(
                self._directory, known, state, report, self._removed, lost, " ".join(notes)
            )
            stream_json.write(self._directory / stream_json.FILE, value)
        return Recovery(**{**asdict(found), "outcome": "recovered", "notes": notes})


def _agree(said: abi.Checkpoint, report: abi.Checkpoint) -> bool:
    """Whether `said` ends the stream already, and as `report` does."""
    fields = ("segment", "segment_bytes", "segment_tags", "segment_index", "packets", "bytes")
    times = ("first_ns", "last_ns")
    return said.state != abi.RecorderState.RUNNING and all(
        getattr(said, name) == getattr(report, name) for name in (*fields, *times)
    )


def _streams(path: Path) -> list[Path]:
    """The streams that `path` stands for: those of a store, or itself."""
    inside = path / "streams" if (path / "streams").is_dir() else path
    if inside == path and _is_stream(path):
        return [path]
    if inside.name != "streams" or not inside.is_dir():
        raise NotFound(
            f"There is no store and no stream in {path}.",
            code="no-such-store",
            hint="Name the directory of a store or of one stream.",
        )
    found = (each for each in inside.iterdir() if each.is_dir() and not each.is_symlink())
    return sorted(each for each in found if _is_stream(each))


def _is_stream(directory: Path) -> bool:
    if not directory.is_dir():
        return False
    names = (checkpoint.FILE, stream_json.FILE)
    return any((directory / name).exists() for name in names) or bool(segment_numbers(directory))


def _one_of_many(directory: Path, dry_run: bool, thorough: bool) -> Recovery:
    try:
        return recover_stream(directory, dry_run=dry_run, thorough=thorough)
    except Conflict as error:
        return Recovery(directory.name, "recording", notes=(error.message,))
    except FwdcapError as error:
        return Recovery(directory.name, "failed", notes=(str(error),))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keeps a second recovery of the same stream out. Raises Conflict."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict(
            f"Stream {directory.name} is being recovered already.",
            code="being-recovered",
            hint="Wait until that has ended.",
        ) from None
    finally:
        os.close(fd)


def _refusal(stream: str, error: OSError) -> FwdcapError:
    said = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"Stream {stream} cannot be recovered: the disk is full.",
            code="store-full",
            hint="Make room and recover it again; nothing was lost.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Forbidden(
            f"Stream {stream} cannot be recovered: {said}.",
            code="store-not-writable",
            hint="Run as root, on a file system that can be written.",
        )
    return Unavailable(
        f"Stream {stream} cannot be recovered: {said}.",
        code="store-unreadable",
        hint="Check its disk, then recover it again; nothing was lost.",
    )
