"""streams: what is in the store, its views and their splits; deletion."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from fwdcap.errors import FwdcapError
from fwdcap.store.listing import open_splits
from fwdcap.store.names import not_found, stream_directory
from fwdcap.store.stream import StreamInfo, list_streams, read_stream
from fwdcap.store.views import VIEWS, Split, split_names, view_named
from fwdcap.users.roles import Role
from webui import files
from webui.api import models
from webui.api.blueprint import blueprint
from webui.api.operation import Operation, operation
from webui.context import context


@operation(
    blueprint,
    "GET",
    "/streams",
    Operation(
        "All streams, newest first",
        Role.VIEWER,
        models.Streams,
        query=models.Paging,
        refusals=(503,),
    ),
)
def streams(query: models.Paging) -> Any:
    found, running = list_streams(context().store), _running()
    first = (query.page - 1) * query.per_page
    shown = found[first : first + query.per_page]
    return _page(query, len(found)) | {"streams": [_stream(info, running) for info in shown]}


@operation(
    blueprint,
    "GET",
    "/streams/<stream>",
    Operation("One stream", Role.VIEWER, models.Stream, refusals=(404, 503)),
)
def stream(stream: str) -> Any:
    return _stream(read_stream(context().store, stream), _running())


@operation(
    blueprint,
    "DELETE",
    "/streams/<stream>",
    Operation(
        "Delete a stream that is not being recorded",
        Role.OPERATOR,
        models.Deleted,
        refusals=(404, 409, 503),
    ),
)
def delete_stream(stream: str) -> Any:
    around = context()
    stream_directory(around.store, stream)
    return around.daemon.stream_delete(stream)


@operation(
    blueprint,
    "GET",
    "/streams/<stream>/views",
    Operation("The ways to cut a stream", Role.VIEWER, models.Views, refusals=(404, 503)),
)
def views(stream: str) -> Any:
    read_stream(context().store, stream)
    return {
        "stream": stream,
        "views": [
            {
                "name": view.name,
                "period_ns": view.step if view.kind == "time" else None,
                "size_bytes": view.step if view.kind == "size" else None,
                "splits": f"/api/v1/streams/{stream}/splits?view={view.name}",
            }
            for view in VIEWS
        ],
    }


@operation(
    blueprint,
    "GET",
    "/streams/<stream>/splits",
    Operation(
        "The splits of a stream in one view, the growing one of a running capture included",
        Role.VIEWER,
        models.Splits,
        query=models.SplitPaging,
        refusals=(404, 503),
    ),
)
def splits(stream: str, query: models.SplitPaging) -> Any:
    around = context()
    found = open_splits(around.store, stream, view_named(query.view))
    try:
        first = (query.page - 1) * query.per_page
        total = _skip(found, first)
        shown = list(islice(found, query.per_page))
        total += len(shown) + _skip(found)
    except OSError:  # deleted while it was read
        raise not_found(stream) from None
    name = split_names(around.zone)
    rows = [_split(stream, name(split.start_ns), split) for split in shown]
    return _page(query, total) | {"stream": stream, "view": query.view, "splits": rows}


def _page(query: models.Paging, total: int) -> dict[str, int]:
    pages = max(1, -(-total // query.per_page))
    return {"page": query.page, "pages": pages, "per_page": query.per_page, "total": total}


def _skip(found: Iterator[Split], most: int | None = None) -> int:
    """Takes so many, or all, and says how many there were."""
    return sum(1 for _ in islice(found, most))


def _split(stream: str, name: str, split: Split) -> dict[str, Any]:
    between = f"Start={split.start_ns}&Stop={split.stop_ns}"
    address = f"/pcap/splittime?StreamName={stream}&{between}"
    return split._asdict() | {"name": name, "pcap": address}


def _stream(info: StreamInfo, running: str | None) -> models.Stream:
    seen = models.Stream.model_validate(info)
    return seen.model_copy(update={"state": files.state(info, running)})


def _running() -> str | None:
    """The stream that is recorded now, empty for none; None where nobody knows."""
    try:
        capture = context().daemon.recent()["capture"]
    except FwdcapError:
        return None
    return str(capture["stream"]) if capture["active"] else ""
