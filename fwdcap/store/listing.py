"""The splits of a stream that is in the store: opens its index and cuts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fwdcap.store import names
from fwdcap.store.index import Index
from fwdcap.store.segments import Contents, look
from fwdcap.store.views import Split, View, splits


def open_splits(root: Path, stream: str, view: View) -> Iterator[Split]:
    """The splits of `stream`, made as they are taken; raises NotFound at once.

    A running stream is listed up to what is committed now. Taking one raises
    OSError where the stream is deleted meanwhile.
    """
    directory = names.stream_directory(root, stream)
    try:
        index, anchor_ns = look(directory, lambda held: _opened(held, stream))
    except OSError:
        raise names.not_found(stream) from None
    return _taken(index, view, anchor_ns)


def _opened(held: Contents, stream: str) -> tuple[Index, int]:
    if not (held.segments or held.checkpoint):
        raise names.not_found(stream)
    return Index(held), held.anchor_ns or 0


def _taken(index: Index, view: View, anchor_ns: int) -> Iterator[Split]:
    with index:
        if len(index):
            anchor_ns = anchor_ns or index[0].first_ns
            index.expect(view, anchor_ns)
            yield from splits(index, index.total, view, anchor_ns)
