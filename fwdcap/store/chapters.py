"""What an export reads of each stream, and what it says about it.

stream.json and the checkpoint in the words of a pcapng file: an interface for
every route and mode, how many of its records were lost, when, and what the
export leaves out. Where something is not known it is not said.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from fwdcap import __version__, abi
from fwdcap.errors import Invalid
from fwdcap.store import names, scanplan, stream_json
from fwdcap.store.ranges import ranges
from fwdcap.store.scanplan import Chapter, Gap, Interface
from fwdcap.store.segments import Contents, contents
from fwdcap.store.stream_json import StreamJson


class Wanted(Protocol):
    """What of an export decides what is read and said."""

    @property
    def start_ns(self) -> int | None: ...
    @property
    def stop_ns(self) -> int | None: ...
    @property
    def filters(self) -> tuple[str, ...]: ...
    @property
    def routes(self) -> tuple[str, ...]: ...
    @property
    def modes(self) -> frozenset[abi.Mode]: ...
    @property
    def direction(self) -> abi.Direction | None: ...
    @property
    def snaplen(self) -> int: ...


def chapters(root: Path, streams: Sequence[str], wanted: Wanted) -> list[Chapter]:
    """A chapter for each stream that knows one of the routes; raises NotFound and Invalid."""
    found = [_Source(root, stream) for stream in streams]
    matching = [source for source in found if not wanted.routes or source.ids(wanted.routes)]
    for name in wanted.routes:
        if not any(source.ids((name,)) for source in found):
            raise _no_such_route(name, found)
    made = [source.chapter(wanted) for source in matching]
    return made if len(made) < 2 else [_told_apart(chapter) for chapter in made]


class _Source:
    """A stream on disk as its files were a moment ago."""

    def __init__(self, root: Path, stream: str) -> None:
        self.stream = stream
        self._base = root / "streams"
        directory = names.stream_directory(root, stream)
        try:
            self._held = contents(directory)
        except OSError:
            raise names.not_found(stream) from None
        self._words = stream_json.read(directory / stream_json.FILE)
        if self._words is None and self._held.checkpoint is None and not self._held.segments:
            raise names.not_found(stream)

    @property
    def routes(self) -> tuple[Mapping[str, Any], ...]:
        """All rows of the route table, those of its changes behind those of the start."""
        if self._words is None:
            return ()
        later = (change.get("routes") for change in self._words.changes)
        rows = (row for table in later if isinstance(table, list) for row in table)
        return (*self._words.routes, *(row for row in rows if isinstance(row, dict)))

    def ids(self, wanted: Sequence[str]) -> tuple[int, ...]:
        """The ids that routes of these names had."""
        named = {row["id"] for row in self.routes if row.get("name") in wanted and "id" in row}
        return tuple(sorted(number for number in named if isinstance(number, int)))

    def chapter(self, wanted: Wanted) -> Chapter:
        ids = self.ids(wanted.routes)
        lost = losses(self._words, self._held)
        every, nobodys = self._interfaces(lost)
        return Chapter(
            stream=self.stream,
            ranges=ranges(self._held, self._base, wanted.start_ns, wanted.stop_ns),
            routes=ids,
            interfaces=tuple(
                each
                for each in every
                if (not ids or each.route_id in ids)
                and (not wanted.modes or each.mode in wanted.modes)
            ),
            gaps=tuple(gaps(self._words, self._held, wanted)),
            comments=(
                _what(self.stream, self._words, self._held, lost),
                *_of_no_interface(nobodys),
                *_left_out(wanted),
            ),
            hardware=platform.machine(),
            system=f"{platform.system()} {platform.release()}",
            application=f"fwdcap {__version__}",
        )

    def _interfaces(self, lost: Mapping[str, int]) -> tuple[tuple[Interface, ...], int]:
        """One per route and mode with its counts, and the records lost of nobody knows which.

        What the program emitted and the disk did not take is only known in sum; where
        there is one interface, all of it was that one's.
        """
        every = scanplan.interfaces(self.routes)
        if len(every) == 1:
            recorded = self._held.before.packets + self._held.packets
            only = {(every[0].route_id, every[0].mode): (recorded, sum(lost.values()))}
            return scanplan.interfaces(self.routes, only), 0
        counters = self._words.counters if self._words is not None else {}
        counts = stream_json.parse_interfaces(counters.get("interfaces"))
        known = sum(missing for _, missing in counts.values())
        nobodys = max(0, sum(lost.values()) - known) if counts else 0
        return scanplan.interfaces(self.routes, counts), nobodys


def _told_apart(chapter: Chapter) -> Chapter:
    """Its interfaces with the stream in their descriptions: names repeat from stream to stream."""
    named = (
        replace(each, description=f"{chapter.stream}: {each.description}")
        for each in chapter.interfaces
    )
    return replace(chapter, interfaces=tuple(named))


def losses(words: StreamJson | None, held: Contents) -> dict[str, int]:
    """Records lost by reason, where there were any: the final counts, else the recorder's."""
    final = words.counters.get("lost") if words is not None else None
    if isinstance(final, Mapping):
        counts = {str(reason): count for reason, count in final.items()}
    elif held.checkpoint is not None:
        counts = {scanplan.word(r): held.checkpoint.lost_records[r] for r in abi.Loss}
    else:
        counts = {}
    return {reason: count for reason, count in counts.items() if isinstance(count, int) and count}


def gaps(words: StreamJson | None, held: Contents, wanted: Wanted) -> Iterator[Gap]:
    """Where records are missing, as far as that lies in the window."""
    low, high = wanted.start_ns or 0, wanted.stop_ns
    for first, last, lost in _episodes(words, held):
        if last < low or (high is not None and first >= high):
            continue
        when = f"between {scanplan.moment(first)} and {scanplan.moment(last)}"
        yield Gap(max(first, low), f"{_number(lost)} lost {when}: {_reasons(lost)}")


def _episodes(
    words: StreamJson | None, held: Contents
) -> Iterator[tuple[int, int, Mapping[str, int]]]:
    """First and last time (UTC ns) and the records lost by reason; else one of them all."""
    lost = losses(words, held)
    told = [each for each in words.losses if _is_episode(each)] if words is not None else []
    if sum(each["records"] for each in told) == sum(lost.values()):
        for each in told:
            yield each["first_ns"], each["last_ns"], {str(each["reason"]): each["records"]}
        return
    said = held.checkpoint
    first = (words.first_loss_ns if words else None) or (said.first_loss_ns if said else 0)
    last = (words.last_loss_ns if words else None) or (said.last_loss_ns if said else 0)
    if lost and first and last:
        yield first, last, lost


def _is_episode(each: Mapping[str, Any]) -> bool:
    return all(isinstance(each.get(key), int) for key in ("records", "first_ns", "last_ns"))


def _what(stream: str, words: StreamJson | None, held: Contents, lost: Mapping[str, int]) -> str:
    times = ""
    if words is not None:
        times = f", {words.state}, on {words.interface or 'no interface'}"
        times += f" since {scanplan.moment(words.started_ns)}"
        if words.stopped_ns is not None:
            times += f" until {scanplan.moment(words.stopped_ns)}"
    missing = f"{_number(lost)} lost: {_reasons(lost)}" if lost else "none lost"
    return f"Stream {stream}{times}: {held.packets:,} records, {missing}."


def _of_no_interface(count: int) -> Iterator[str]:
    if count:
        yield (
            f"{count:,} of the records lost were lost behind the interfaces' counters, which say "
            "that they were received."
        )


def _left_out(wanted: Wanted) -> Iterator[str]:
    """What there is not in the file although the stream has it."""
    if wanted.start_ns is not None:
        yield f"Only records from {scanplan.moment(wanted.start_ns)} on."
    if wanted.stop_ns is not None:
        yield f"Only records before {scanplan.moment(wanted.stop_ns)}."
    if wanted.routes:
        yield f"Only routes {', '.join(wanted.routes)}."
    if wanted.modes:
        yield f"Only modes {', '.join(scanplan.word(mode) for mode in sorted(wanted.modes))}."
    if wanted.direction is not None:
        yield f"Only direction {scanplan.word(wanted.direction)}."
    for text in wanted.filters:
        yield f"Only what matches: {text}"
    if wanted.snaplen:
        yield f"Frames are cut to {wanted.snaplen} bytes."


def _number(lost: Mapping[str, int]) -> str:
    count = sum(lost.values())
    return f"{count:,} record{'' if count == 1 else 's'}"


def _reasons(lost: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in lost.items())


def _no_such_route(name: str, sources: Sequence[_Source]) -> Invalid:
    known = {str(row["name"]) for source in sources for row in source.routes if row.get("name")}
    return Invalid(
        f"No route was called {names.shorten(name)} while this was recorded.",
        code="no-such-route",
        hint=f"Its routes are {', '.join(sorted(known))}." if known else "No route is known of it.",
    )
