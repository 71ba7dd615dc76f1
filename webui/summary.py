"""/sysmaster in JSON: capture_status and stats_summary, with the keys of later firmware.

Numbers mean what the line of the same name in /sysmaster/status means. What
this appliance has no hardware for is 0 or "none".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from flask import Blueprint, Response

from fwdcap.store.stream import list_streams
from fwdcap.store.times import NS, days_hours_minutes, local
from fwdcap.users.roles import Role
from webui.auth import needs
from webui.context import context
from webui.query import parameters

blueprint = Blueprint("summary", __name__, url_prefix="/sysmaster")

Body = Mapping[str, Any]


@blueprint.get("/capture_status")
@needs(Role.VIEWER)
def capture_status() -> Response:
    """The running capture, or the last one."""
    parameters()
    around = context()
    return _json(capture_facts(around.daemon.status(), around.zone))


@blueprint.get("/stats_summary")
@needs(Role.VIEWER)
def stats_summary() -> Response:
    """The appliance and its store."""
    parameters()
    around = context()
    now = around.daemon.status()
    firsts = [info.first_ns for info in list_streams(around.store) if info.first_ns is not None]
    return _json(summary_facts(now, min(firsts, default=None), around.zone))


def capture_facts(now: Body, zone: tzinfo) -> dict[str, Any]:
    """capture_status; `CaptureTime` is the capture's start in UTC seconds."""
    capture = now["capture"]
    active = bool(capture["active"])
    return {
        "Status": True,
        "GUIMode": "full",
        "StreamName": capture["name"] or "none",
        "CaptureEnable": "true" if active else "false",
        "CaptureTime": round((capture["started_ns"] or 0) / NS, 4),
        "CaptureByte": int(capture["emitted_bytes"] or 0),
        "CapturePacket": int(capture["emitted_records"] or 0),
        "CaptureBps": int(capture["bps"] or 0) if active else 0,
        "CapturePps": int(capture["pps"] or 0) if active else 0,
        "CurrentTime": f"{local(now['time_ns'], zone):%Y/%m/%d   %H:%M}",
    }


def summary_facts(now: Body, oldest_ns: int | None, zone: tzinfo) -> dict[str, Any]:
    """stats_summary; `oldest_ns` is the time of the oldest packet in the store."""
    capture = now["capture"]
    age_ns = 0 if oldest_ns is None else now["time_ns"] - oldest_ns
    return {
        "uptime": days_hours_minutes(now["uptime_s"]),
        "packets_received": int(capture["received_packets"] or 0),
        "packets_dropped": int(capture["lost_records"] or 0),
        "packets_errors": int(capture["error_packets"] or 0),
        "packets_captured": int(capture["committed_records"] or 0),
        "packets_oldest": "none"
        if oldest_ns is None
        else f"{local(oldest_ns, zone):%d %b %Y %H:%M:%S}",
        "packets_oldest_ts": str(oldest_ns or 0),
        "capture_days": _days(age_ns),
        "bytes_captured": int(capture["committed_bytes"] or 0),
        "bytes_pending": int(capture["pending_bytes"] or 0),
        "bytes_disk": int(now["store"]["used_bytes"] or 0),
        "bytes_overflow": 0,
        "smart_errors": 0,
        "raid_errors": 0,
        "raid_status": "none",
        "stream_errors": 0,
        "chunk_errors": 0,
        "ecc_errors": 0,
    }


def _days(ns: int) -> str:
    """How long the store reaches back, `1505D  0H 57M`."""
    minutes = max(0, ns) // (60 * NS)
    return f"{minutes // 1440}D {minutes // 60 % 24:2}H {minutes % 60:2}M"


def _json(body: dict[str, Any]) -> Response:
    return Response(json.dumps(body, separators=(",", ":")), mimetype="application/json")
