"""A stream's page: its splits in one view, some at a time; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import tzinfo

from fwdcap.store.stream import StreamInfo
from fwdcap.store.times import NS, local
from fwdcap.store.views import VIEWS, Split, View, split_name
from webui.words import number, size, span

PER_PAGE = 200
BAR_STEPS = 100

_PERIODS = {
    "split_1sec": "1 s",
    "split_10sec": "10 s",
    "split_1min": "1 min",
    "split_10min": "10 min",
    "split_15min": "15 min",
    "split_1hour": "1 h",
}


@dataclass(frozen=True)
class SplitRow:
    """A split in words; `bar` is how busy it was, 0 to BAR_STEPS, the busiest having all."""

    name: str
    start: str
    length: str
    packets: str
    size: str
    bar: int
    start_ns: int
    stop_ns: int


@dataclass(frozen=True)
class SplitPage:
    """Page `number` of `pages`, the first being 1; `count` splits in all."""

    rows: tuple[SplitRow, ...]
    number: int
    pages: int
    count: int


def label(view: View) -> str:
    """`10 min`, `100 MB`."""
    return _PERIODS.get(view.name) or f"{int(view.name[6:-2])} {view.name[-2:]}"


def fitting(info: StreamInfo) -> View:
    """The finest view by time that shows a stream on one page."""
    length_ns = (info.last_ns or 0) - (info.first_ns or 0)
    by_time = [view for view in VIEWS if view.kind == "time"]
    return next((v for v in by_time if length_ns < PER_PAGE * v.step), by_time[-1])


def page_of(
    splits: Iterable[Split], view: View, zone: tzinfo, number: int, per_page: int = PER_PAGE
) -> SplitPage:
    """That page, the last one where there are not so many; reads all splits, keeps one page."""
    wanted: list[Split] = []
    current: list[Split] = []
    count, most = 0, 0
    for split in splits:
        if count and count % per_page == 0:
            if count // per_page == number:
                wanted = current
            current = []
        current.append(split)
        count += 1
        most = max(most, _activity(split, view))
    pages = max(1, -(-count // per_page))
    rows = tuple(_row(split, view, zone, most) for split in wanted or current)
    return SplitPage(rows, max(1, min(number, pages)), pages, count)


def _row(split: Split, view: View, zone: tzinfo, most: int) -> SplitRow:
    bar = -(-_activity(split, view) * BAR_STEPS // most) if most else 0
    milliseconds = split.start_ns % NS // 1_000_000
    return SplitRow(
        name=split_name(split.start_ns, zone),
        start=f"{local(split.start_ns, zone):%Y-%m-%d %H:%M:%S}.{milliseconds:03}",
        length=span(split.stop_ns - split.start_ns),
        packets=number(split.packets),
        size=size(split.size_bytes),
        bar=bar,
        start_ns=split.start_ns,
        stop_ns=split.stop_ns,
    )


def _activity(split: Split, view: View) -> int:
    """Bytes where all splits are of one period, else bytes per second."""
    if view.kind == "time":
        return split.size_bytes
    return split.size_bytes * NS // max(1, split.stop_ns - split.start_ns)
