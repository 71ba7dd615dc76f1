"""A stream as one pcap file: the header, then byte ranges of its segments.

The result is a seekable file object that opens segments as it reaches them, so
a server can hand it to its file wrapper and send it without a worker or a copy
on disk. Its length is fixed when it is made: a running stream is sent up to
what was committed then, and a window of it ends where it should on any server.
Where a segment went away or became shorter meanwhile, reading raises OSError:
a server must end the transfer, not wait for bytes that will never come.
"""

from __future__ import annotations

import errno
import io
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from fwdcap.errors import Invalid, NotFound
from fwdcap.store import names, pcap, stream_json
from fwdcap.store.index import Index, Place
from fwdcap.store.segments import Contents, Segment, contents, header_of, look


@dataclass(frozen=True)
class Part:
    """`length` bytes that come next: of `head`, or of the file at `path`, from `offset` on."""

    length: int
    offset: int = 0
    head: bytes = b""
    path: Path | None = None

    def cut(self, start: int, stop: int) -> Part:
        """Bytes [start, stop) of this part."""
        return Part(stop - start, self.offset + start, self.head, self.path)


class Ranges(io.RawIOBase):
    """A read-only, seekable file over parts; at most one of their files is open at a time."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self._parts = tuple(part for part in parts if part.length > 0)
        self._begins = [0, *accumulate(part.length for part in self._parts)]
        self._position = 0
        self._open: tuple[Path, int] | None = None

    @property
    def length(self) -> int:
        """Bytes from beginning to end."""
        return self._begins[-1]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.length}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Exactly `size` bytes, fewer only at the end; raises OSError where bytes are gone."""
        left = self.length - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        pieces: list[bytes] = []
        while wanted > 0:
            piece = self._piece(wanted)
            pieces.append(piece)
            wanted -= len(piece)
            self._position += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, out: int, most: int) -> int:
        """Move some of the next `most` bytes to the socket `out`, by sendfile(2).

        Returns how many. Raises OSError where bytes are gone, BlockingIOError where
        the socket takes none now, and what else it has to say.
        """
        part, offset, size = self._next(most)
        if part.path is None:
            sent = os.write(out, part.head[offset : offset + size])
        else:
            sent = os.sendfile(out, self._descriptor(part.path), offset, size)
        if not sent:
            raise _shorter()
        self._position += sent
        return sent

    def close(self) -> None:
        self._close_part()
        super().close()

    def _next(self, wanted: int) -> tuple[Part, int, int]:
        """The part at the position, the place in it, and how much of `wanted` it has there."""
        number = bisect_right(self._begins, self._position) - 1
        part, within = self._parts[number], self._position - self._begins[number]
        return part, part.offset + within, min(wanted, part.length - within)

    def _piece(self, wanted: int) -> bytes:
        """Some bytes from the position on, of one part, at least one."""
        part, offset, size = self._next(wanted)
        if part.path is None:
            return part.head[offset : offset + size]
        piece = os.pread(self._descriptor(part.path), size, offset)
        if not piece:
            raise _shorter()
        return piece

    def _descriptor(self, path: Path) -> int:
        if self.closed:
            raise ValueError("read of a closed file")
        if self._open is None or self._open[0] != path:
            self._close_part()
            self._open = path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._open[1]

    def _close_part(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None


def _shorter() -> OSError:
    return OSError(errno.EIO, "a segment became shorter while it was read")


@dataclass(frozen=True)
class Download:
    """What to send: `parts` in order, `length` bytes in all.

    Two downloads of the same `mark` have the same bytes: a stream is only ever
    added to, and no two begin with the same nanosecond.
    """

    stream: str
    parts: tuple[Part, ...]
    length: int
    mark: str

    @property
    def file(self) -> Ranges:
        """A fresh file object over the whole."""
        return Ranges(self.parts)

    def window(self, start: int, stop: int) -> Ranges:
        """A fresh file object over bytes [start, stop) alone."""
        ends = list(accumulate(part.length for part in self.parts))
        inside = zip(self.parts, ends, strict=True)
        spans = (
            (
                part,
                max(start - (end - part.length), 0),
                min(stop - (end - part.length), part.length),
            )
            for part, end in inside
        )
        return Ranges([part.cut(begin, stop) for part, begin, stop in spans if begin < stop])


def open_single(root: Path, stream: str) -> Download:
    """The whole stream as one pcap, a running one up to what is committed; raises NotFound."""
    directory = names.stream_directory(root, stream)
    try:
        held = contents(directory)
        words = (directory / stream_json.FILE).exists()
    except OSError:
        raise names.not_found(stream) from None
    if not (held.segments or held.checkpoint or words):
        raise names.not_found(stream)
    header = header_of(held.segments)
    body = (
        Part(segment.record_bytes, pcap.FILE_HEADER_BYTES, path=segment.path)
        for segment in held.segments
    )
    parts = (Part(len(header), head=header), *body)
    mark = f"{held.first_ns or 0:x}-{held.size_bytes:x}"
    return Download(stream, parts, held.size_bytes, mark)


def open_range(root: Path, stream: str, start_ns: int, stop_ns: int) -> Download:
    """The records with start_ns <= time < stop_ns (UTC) as one pcap.

    A window that reaches beyond the recording is clipped, a gap inside it gives
    the header alone. Raises Invalid where the window is empty and NotFound where
    it lies outside the recording.
    """
    check_range(start_ns, stop_ns)
    directory = names.stream_directory(root, stream)
    try:
        return look(directory, lambda held: _range(held, stream, start_ns, stop_ns))
    except OSError:
        raise names.not_found(stream) from None


def _range(held: Contents, stream: str, start_ns: int, stop_ns: int) -> Download:
    with Index(held) as index:
        if not len(index) or index[0].first_ns >= stop_ns or index.total.last_ns < start_ns:
            raise _outside(stream, index, start_ns, stop_ns)
        begin, end = index.locate(start_ns), index.locate(stop_ns)
    header = header_of(held.segments)
    body = tuple(_between(held.segments, begin, end))
    length = len(header) + sum(part.length for part in body)
    first = held.segments[min(begin.segment, len(held.segments) - 1)].number
    mark = f"{held.first_ns or 0:x}-{first:x}.{begin.offset:x}-{length:x}"
    return Download(stream, (Part(len(header), head=header), *body), length, mark)


def check_range(start_ns: int, stop_ns: int) -> None:
    """Raises Invalid where [start_ns, stop_ns) holds no time."""
    if stop_ns <= start_ns:
        raise Invalid(
            f"The time range from {start_ns} to {stop_ns} is empty.",
            code="empty-range",
            hint="Its end must be later than its start; both are UTC nanoseconds.",
        )


def _between(segments: Sequence[Segment], begin: Place, end: Place) -> Iterator[Part]:
    """The bytes from one place to another, segment by segment."""
    for number, segment in enumerate(segments[begin.segment : end.segment + 1], begin.segment):
        start = begin.offset if number == begin.segment else pcap.FILE_HEADER_BYTES
        stop = min(end.offset, segment.length) if number == end.segment else segment.length
        if start < stop:
            yield Part(stop - start, start, path=segment.path)


def _outside(stream: str, index: Index, start_ns: int, stop_ns: int) -> NotFound:
    asked = f"Nothing of stream {stream} lies from {start_ns} to {stop_ns}"
    if not len(index):
        return NotFound(f"{asked}: it holds no packet.", code="outside-recording")
    first_ns, last_ns = index[0].first_ns, index.total.last_ns
    return NotFound(
        f"{asked}: it was recorded from {first_ns} to {last_ns}.",
        code="outside-recording",
        hint="Times are UTC nanoseconds; /plain/split lists ranges that exist.",
    )
