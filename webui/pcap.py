"""/pcap: downloads by stream, by split and by time, and deletion.

What asks for everything in a range of time is sent as bytes of the store; what
selects, cuts or converts goes through fwdcap-scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flask import Blueprint, Response

from fwdcap.errors import Invalid
from fwdcap.store.across import open_across, streams_between
from fwdcap.store.download import open_range, open_single
from fwdcap.store.export import Export
from fwdcap.store.names import shorten, stream_directory
from fwdcap.store.times import NS
from fwdcap.users.roles import Role
from webui import exports
from webui.api.downloads import TIMERANGE
from webui.api.operation import described
from webui.auth import changes, needs
from webui.context import context
from webui.query import instant, parameters, required, whole_number
from webui.selection import selecting
from webui.sending import send

blueprint = Blueprint("pcap", __name__, url_prefix="/pcap")
version_1 = Blueprint("pcap_v1", __name__, url_prefix="/api/v1/pcap")

EVERYTHING = Export()
_UNITS = {
    "nanos": 1,
    "nsec": 1,
    "usec": 1000,
    "msec": 1_000_000,
    "msecs": 1_000_000,
    "sec": NS,
}
_MOST = (1 << 63) - 1


@blueprint.get("/single")
@needs(Role.RESTRICTED)
def single() -> Response:
    """A whole stream as one file, a running one up to what is committed."""
    given, wanted = selecting("StreamName")
    stream = required(given, "StreamName")
    if wanted == EVERYTHING:
        return send(open_single(context().store, stream), f"{stream}.pcap")
    return _export((stream,), wanted, stream)


@blueprint.get("/splittime")
@needs(Role.RESTRICTED)
def splittime() -> Response:
    """A stream's records in [Start, Stop)."""
    given, wanted = selecting("StreamName", "Start", "Stop")
    stream = required(given, "StreamName")
    start_ns, stop_ns = instant(given, "Start"), instant(given, "Stop")
    stem = f"{stream}_{start_ns}-{stop_ns}"
    download = open_range(context().store, stream, start_ns, stop_ns)
    if wanted == EVERYTHING:
        return send(download, f"{stem}.pcap")
    return _export((stream,), replace(wanted, start_ns=start_ns, stop_ns=stop_ns), stem)


@blueprint.get("/timerange")
@needs(Role.RESTRICTED)
def timerange() -> Response:
    """The records of all streams in [TSBegin, TSEnd), in order of time.

    TSZone and TSMax are taken, and mean nothing for times that are numbers.
    """
    given, wanted = selecting("TSBegin", "TSEnd", "TSUnit", "TSMode", "TSZone", "TSMax")
    unit_ns = _unit(given)
    whole_number(given, "TSMax", _MOST)
    start_ns, stop_ns = instant(given, "TSBegin", unit_ns), instant(given, "TSEnd", unit_ns)
    stem, store = f"timerange_{start_ns}-{stop_ns}", context().store
    if wanted == EVERYTHING:
        return send(open_across(store, start_ns, stop_ns), f"{stem}.pcap")
    streams = streams_between(store, start_ns, stop_ns)
    return _export(streams, replace(wanted, start_ns=start_ns, stop_ns=stop_ns), stem)


@version_1.get("/timerange", endpoint="timerange")
@described(TIMERANGE)
@needs(Role.RESTRICTED)
def timerange_1() -> Response:
    """The same under its newer address, with refusals in JSON."""
    return timerange()


@blueprint.get("/del")
@needs(Role.OPERATOR)
@changes
def delete() -> Response:
    """Deletes a stream that is not being recorded."""
    stream = required(parameters(("StreamName",)), "StreamName")
    around = context()
    stream_directory(around.store, stream)
    answer = around.daemon.stream_delete(stream)
    return Response(f"{answer['message']}\n", mimetype="text/plain")


def _export(streams: tuple[str, ...], wanted: Export, stem: str) -> Response:
    around = context()
    return exports.respond(around.exports, around.meter, around.store, streams, wanted, stem)


def _unit(given: Mapping[str, str]) -> int:
    """Nanoseconds in a unit of the times; the older name of the parameter does as well."""
    said = {given[name].lower() for name in ("TSUnit", "TSMode") if name in given} or {"nanos"}
    if len(said) > 1:
        raise Invalid(
            "TSUnit and TSMode say different units.", code="bad-unit", hint="Leave TSMode out."
        )
    name = said.pop()
    if name not in _UNITS:
        raise Invalid(
            f"There is no unit {shorten(name)}.",
            code="bad-unit",
            hint=f"TSUnit is one of {', '.join(_UNITS)}.",
        )
    return _UNITS[name]
