"""/sysmaster: status, start and stop, as scripts for this kind of appliance expect them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from fwdcap import abi, amounts
from fwdcap.store.names import check_name
from fwdcap.store.times import NS, days_hours_minutes
from fwdcap.users.roles import Role
from webui import problems
from webui.auth import changes, needs
from webui.context import context
from webui.query import parameters, whole_number

blueprint = Blueprint("sysmaster", __name__, url_prefix="/sysmaster")

CAPS = ("MaxSeconds", "MaxPackets", "MaxBytes")
_MOST = 2**63 - 1


@blueprint.get("/status")
@needs(Role.VIEWER)
def status() -> Response:
    """The 18 lines."""
    parameters()
    lines = status_lines(context().daemon.status())
    text = "".join(f"{key}, {value}\n" for key, value in lines)
    return Response(text, mimetype="text/plain")


@blueprint.get("/capture_start")
@needs(Role.OPERATOR)
@changes
def capture_start() -> Response:
    """Starts a capture of the name in StreamName."""
    given = parameters(("StreamName", "Snaplen", *CAPS))
    name = check_name(given.get("StreamName", ""))
    snaplen = whole_number(given, "Snaplen", abi.PCAP_SNAPLEN)
    return _done(context().daemon.capture_start(name, snaplen, **_caps(given)))


@blueprint.get("/capture_stop")
@needs(Role.OPERATOR)
@changes
def capture_stop() -> Response:
    """Stops the running capture, whoever started it."""
    parameters()
    return _done(context().daemon.capture_stop())


def _caps(given: Mapping[str, str]) -> dict[str, int]:
    """The limits asked for, by fwdcapd's names; a size may have a unit. Raises Invalid."""
    found = {
        "max_seconds": whole_number(given, "MaxSeconds", _MOST),
        "max_packets": whole_number(given, "MaxPackets", _MOST),
        "max_bytes": amounts.size(given["MaxBytes"]).bytes if "MaxBytes" in given else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _done(answer: dict[str, Any]) -> Response:
    return problems.sysmaster(True, str(answer["message"]), int(answer["time_ns"]))


def status_lines(now: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of /sysmaster/status, in the manual's order, from fwdcapd's status."""
    capture, datapath, active = now["capture"], now["datapath"], bool(now["capture"]["active"])
    up = datapath["link"] == "up"
    since_ns = datapath.get("link_since_ns") or now["time_ns"]
    link_s = (now["time_ns"] - since_ns) / NS if up else 0
    numbers = {
        "packets_received": capture["received_packets"],
        "packets_dropped": capture["lost_records"],
        "packets_errors": capture["error_packets"],
        "packets_captured": capture["committed_records"],
        "bytes_captured": capture["committed_bytes"],
        "bytes_pending": capture["pending_bytes"],
        "bytes_cache": 0,
        "bytes_disk": now["store"]["used_bytes"],
    }
    rates = {
        "capture_link_speed": datapath["link_speed_mbit"],
        "capture_bytes": capture["emitted_bytes"],
        "capture_packets": capture["emitted_records"],
        "capture_bps": capture["bps"] if active else 0,
        "capture_pps": capture["pps"] if active else 0,
    }
    return [
        ("uptime", days_hours_minutes(now["uptime_s"])),
        *_integers(numbers),
        ("capture_link", "up" if up else "down"),
        ("capture_link_uptime", days_hours_minutes(link_s)),
        *_integers(rates),
        ("capture_name", str(capture["name"]) if active else "none"),
        ("capture_active", "true" if active else "false"),
    ]


def _integers(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key, str(int(value or 0))) for key, value in numbers.items()]
