"""/plain: the store as text that scripts split at commas.

Fields of views and splits have no blanks beside them: a client hands them on as
they are, the whole line's last one as an address.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from flask import Blueprint, Response

from fwdcap.store.listing import open_splits
from fwdcap.store.names import not_found
from fwdcap.store.stream import StreamInfo, list_streams, read_stream
from fwdcap.store.times import asctime
from fwdcap.store.views import VIEWS, Split, split_names, view_named
from fwdcap.users.roles import Role
from webui.auth import needs
from webui.context import context
from webui.query import parameters, required
from webui.sending import send_text

blueprint = Blueprint("plain", __name__, url_prefix="/plain")

HEADING = "Filename , Size Bytes , Packet Count , Date ,Single PCAP Link,File Link,TSStart,TSEnd,\n"
VIEW_HEADING = "SplitMode,Link\n"
SPLIT_HEADING = "Name,Size Bytes,Packet Count,URL\n"


@blueprint.get("/list")
@needs(Role.VIEWER)
def list_() -> Response:
    """One row a stream, newest first."""
    parameters()
    around = context()
    rows = [row(info, around.zone) for info in list_streams(around.store)]
    return Response(HEADING + "".join(rows), mimetype="text/plain")


@blueprint.get("/view")
@needs(Role.VIEWER)
def view() -> Response:
    """The ways to cut a stream."""
    stream = required(parameters(("StreamName",)), "StreamName")
    read_stream(context().store, stream)
    rows = (f"{each.name},{split_link(stream, each.name)}\n" for each in VIEWS)
    return Response(VIEW_HEADING + "".join(rows), mimetype="text/plain")


@blueprint.get("/split")
@needs(Role.VIEWER)
def split() -> Response:
    """The splits of a stream in one view, the growing one of a running capture included."""
    given = parameters(("StreamName", "StreamView"))
    stream = required(given, "StreamName")
    wanted, around = view_named(required(given, "StreamView")), context()
    rows = open_splits(around.store, stream, wanted)
    try:
        return send_text(_split_rows(stream, rows, around.zone))
    except OSError:  # deleted while it was read
        raise not_found(stream) from None


def row(info: StreamInfo, zone: tzinfo) -> str:
    """A stream's row; both times are the start where it holds no packet."""
    first_ns = info.first_ns if info.first_ns is not None else info.started_ns
    last_ns = info.last_ns if info.last_ns is not None else first_ns
    return (
        f"{info.stream} , {info.size_bytes}, {info.packets}, {asctime(info.started_ns, zone)},"
        f"/pcap/single?StreamName={info.stream}&,"
        f"/en.files.html?Fn=view&StreamName={info.stream}&,{first_ns},{last_ns},\n"
    )


def split_link(stream: str, view: str) -> str:
    """Where the splits of a stream are listed."""
    return f"/plain/split?StreamName={stream}&StreamView={view}"


def _split_rows(stream: str, rows: Iterator[Split], zone: tzinfo) -> Iterator[str]:
    """`Size Bytes` is what a row's URL sends."""
    name = split_names(zone)
    yield SPLIT_HEADING
    for start_ns, stop_ns, packets, size_bytes in rows:
        yield (
            f"{name(start_ns)},{size_bytes},{packets},"
            f"/pcap/splittime?StreamName={stream}&Start={start_ns}ULL&Stop={stop_ns}ULL\n"
        )
