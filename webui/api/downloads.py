"""What /api/v1/pcap/timerange takes, for the document; webui/pcap.py reads it by itself."""

from __future__ import annotations

from typing import get_args

from fwdcap.filters.shorthand import SHORTHANDS
from fwdcap.store.export import Format
from fwdcap.users.roles import Role
from webui.api.operation import Operation, Parameter
from webui.selection import LEVELS, MODES

_TIME = {"type": "string", "pattern": "^[0-9]{1,20}([uU][lL][lL])?$"}
_TEXT = {"type": "string"}
_UNIT = {"type": "string", "enum": ["nanos", "nsec", "usec", "msec", "msecs", "sec"]}
_MODE = "|".join(MODES)

_TIMES = (
    Parameter("TSBegin", _TIME, "First moment, since 1970 in UTC.", True),
    Parameter("TSEnd", _TIME, "The moment after the last.", True),
    Parameter("TSUnit", _UNIT, "Of both; nanos by default."),
    Parameter("TSMode", _UNIT, "The older name of TSUnit."),
    Parameter("TSZone", _TEXT, "Taken for old scripts, without effect."),
    Parameter(
        "TSMax",
        {"type": "string", "pattern": "^[0-9]{1,18}$"},
        "Taken for old scripts, without effect.",
    ),
)
_SELECTION = (
    Parameter("Route", _TEXT, "Names of routes, with commas: records of any of them."),
    Parameter(
        "Mode", {"type": "string", "pattern": f"^({_MODE})(,({_MODE}))*$"}, "Of these modes."
    ),
    Parameter("Snaplen", {"type": "string", "pattern": "^[0-9]{1,5}$"}, "Cut to so many bytes."),
    Parameter("Compression", {"type": "string", "enum": list(LEVELS)}, "gzip."),
    Parameter("Format", {"type": "string", "enum": list(get_args(Format))}, "pcap by default."),
)
_FILTERS = tuple(
    Parameter(name, {"type": "array", "items": _TEXT}, "A filter; all must match.")
    for name in SHORTHANDS
)

TIMERANGE = Operation(
    "The records of all streams in a range of time, as one file",
    Role.RESTRICTED,
    parameters=(*_TIMES, *_SELECTION, *_FILTERS),
    media_types=("application/vnd.tcpdump.pcap", "application/x-pcapng", "application/gzip"),
    refusals=(404, 416, 503),
    also=(206, 304),
)
