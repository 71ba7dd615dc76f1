"""/plain: the store as text that scripts split at commas."""

from __future__ import annotations

from datetime import tzinfo

from flask import Blueprint, Response

from fwdcap.store.stream import StreamInfo, list_streams
from fwdcap.store.times import asctime
from webui.context import context
from webui.query import parameters

blueprint = Blueprint("plain", __name__, url_prefix="/plain")

HEADING = "Filename , Size Bytes , Packet Count , Date ,Single PCAP Link,File Link,TSStart,TSEnd,\n"


@blueprint.get("/list")
def list_() -> Response:
    """One row a stream, newest first."""
    parameters()
    around = context()
    rows = [row(info, around.zone) for info in list_streams(around.store)]
    return Response(HEADING + "".join(rows), mimetype="text/plain")


def row(info: StreamInfo, zone: tzinfo) -> str:
    """A stream's row; both times are the start where it holds no packet."""
    first_ns = info.first_ns if info.first_ns is not None else info.started_ns
    last_ns = info.last_ns if info.last_ns is not None else first_ns
    return (
        f"{info.stream} , {info.size_bytes}, {info.packets}, {asctime(info.started_ns, zone)},"
        f"/pcap/single?StreamName={info.stream}&,"
        f"/en.files.html?Fn=view&StreamName={info.stream}&,{first_ns},{last_ns},\n"
    )
