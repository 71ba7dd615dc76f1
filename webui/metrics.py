"""/metrics, for Prometheus: what fwdcapd counts, and what this process serves.

Names are fwdcap's words with base units (docs/architecture.md, "Words"). A
daemon that does not answer is one number here, not a failed scrape: that is
when somebody looks. Counters of a capture begin again with the next one, which
Prometheus understands: it takes a counter that became smaller for a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, request
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

import fwdcap
from fwdcap.errors import FwdcapError
from fwdcap.users.roles import Role
from webui import auth
from webui.api.operation import Operation, described
from webui.context import context
from webui.meter import KINDS, Meter
from webui.query import parameters

blueprint = Blueprint("metrics", __name__)

Body = Mapping[str, Any]

_MBIT = 1_000_000
_DIRECTIONS = ("to_server", "to_client")
_RECORDERS = ("none", "running", "restarting", "stopping", "failed")
_ROUTE = {
    "matched_packets": "Packets that matched a route.",
    "matched_bytes": "Their bytes.",
    "forwarded_packets": "Packets sent on by a route.",
    "forwarded_bytes": "Their bytes.",
    "dropped_packets": "Packets of a route that were not sent on.",
}
_MODES = {
    "recorded_packets": "Copies of packets handed to the recorder.",
    "lost_packets": "Copies lost before the recorder had them.",
}
_CAPTURE = {
    "received_packets": "Packets that matched a rule with a mode, since the capture began.",
    "error_packets": "Of those, not forwarded.",
    "emitted_records": "Records handed to the recorder, since the capture began.",
    "emitted_bytes": "Their frame bytes.",
    "committed_records": "Records readable by a download, since the capture began.",
    "committed_bytes": "Their frame bytes.",
}


@blueprint.get("/metrics")
@described(
    Operation(
        "Counters and states for Prometheus",
        Role.VIEWER,
        media_types=("text/plain", "application/openmetrics-text"),
    )
)
@auth.needs(Role.VIEWER)
def metrics() -> Response:
    """All of them, in the format that was asked for."""
    parameters()
    around = context()
    try:
        now: Body | None = around.daemon.recent()
    except FwdcapError:
        now = None
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    found = Families([*of_daemon(now), *of_meter(around.meter)])
    return Response(encode(found), content_type=content_type)


class Families:
    """What prometheus_client calls a collector."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def of_daemon(now: Body | None) -> Iterator[Metric]:
    """Families of fwdcapd's status; None: it does not answer."""
    up = GaugeMetricFamily("fwdcap_daemon_up", "Whether fwdcapd answers.", int(now is not None))
    yield up
    info = GaugeMetricFamily("fwdcap_info", "Version of the web process.", labels=["version"])
    info.add_metric([fwdcap.__version__], 1)
    yield info
    if now is None:
        return
    yield from _datapath(now["datapath"], now["forwarding"])
    yield from _routes(now["routes"])
    yield from _capture(now["capture"])
    yield from _store(now["store"])
    warnings = GaugeMetricFamily("fwdcap_warning", "Warnings of the moment.", labels=["code"])
    for code in sorted({str(warning["code"]) for warning in now["warnings"]}):
        warnings.add_metric([code], 1)
    yield warnings


def of_meter(meter: Meter) -> Iterator[Metric]:
    """Families of what this process serves."""
    running = GaugeMetricFamily("fwdcap_downloads", "Downloads in progress.", labels=["kind"])
    ended = CounterMetricFamily(
        "fwdcap_downloads_finished",
        "Downloads that ended, broken off or whole.",
        labels=["kind", "result"],
    )
    sent = CounterMetricFamily(
        "fwdcap_download_sent_bytes", "Bytes of downloads sent.", labels=["kind"]
    )
    for kind in KINDS:
        seen = meter.downloads(kind)
        running.add_metric([kind], seen.running)
        ended.add_metric([kind, "whole"], seen.whole)
        ended.add_metric([kind, "broken"], seen.broken)
        sent.add_metric([kind], seen.sent_bytes)
    requests = CounterMetricFamily(
        "fwdcap_http_requests", "Requests answered.", labels=["family", "status"]
    )
    for (family, status), count in sorted(meter.requests().items()):
        requests.add_metric([family, str(status)], count)
    yield from (running, ended, sent, requests)


def _datapath(datapath: Body, forwarding: Body) -> Iterator[Metric]:
    interface = [datapath["interface"] or ""]
    numbers = {
        "datapath_forwarding": (
            "Whether the data path forwards.",
            int(datapath["state"] == "forwarding"),
        ),
        "link_up": ("Whether the capture interface's link is up.", int(datapath["link"] == "up")),
        "link_speed_bits_per_second": (
            "Its speed, 0 where the driver does not say.",
            datapath["link_speed_mbit"] * _MBIT,
        ),
        "ring_used_bytes": ("Records that wait for the recorder.", datapath["ring_used_bytes"]),
        "ring_size_bytes": ("Room for them.", datapath["ring_bytes"]),
    }
    for name, (meaning, value) in numbers.items():
        gauge = GaugeMetricFamily(f"fwdcap_{name}", meaning, labels=["interface"])
        gauge.add_metric(interface, value)
        yield gauge
    reasons = CounterMetricFamily(
        "fwdcap_reason_packets",
        "Packets by reason, since the data path was attached.",
        labels=["reason"],
    )
    for reason, count in forwarding["reasons"].items():
        reasons.add_metric([reason], count)
    yield reasons


def _routes(routes: Iterable[Body]) -> Iterator[Metric]:
    ways = [
        (route["name"], direction, route[direction])
        for route in routes
        for direction in _DIRECTIONS
    ]
    for name, meaning in _ROUTE.items():
        labels = ["route", "direction"]
        family = CounterMetricFamily(f"fwdcap_route_{name}", meaning, labels=labels)
        for route, direction, way in ways:
            family.add_metric([route, direction], way[name])
        yield family
    for name, meaning in _MODES.items():
        labels = ["route", "direction", "mode"]
        family = CounterMetricFamily(f"fwdcap_route_{name}", meaning, labels=labels)
        for route, direction, way in ways:
            for mode, count in way[name].items():
                family.add_metric([route, direction, mode], count)
        yield family


def _capture(capture: Body) -> Iterator[Metric]:
    active = int(bool(capture["active"]))
    yield GaugeMetricFamily("fwdcap_capture_active", "Whether a capture runs.", active)
    recorder = GaugeMetricFamily("fwdcap_recorder", "Its recorder's state.", labels=["state"])
    for state in sorted({*_RECORDERS, capture["recorder"]}):
        recorder.add_metric([state], int(state == capture["recorder"]))
    yield recorder
    for name, meaning in _CAPTURE.items():
        yield CounterMetricFamily(f"fwdcap_capture_{name}", meaning, capture[name] or 0)
    lost = CounterMetricFamily(
        "fwdcap_capture_lost_records",
        "Records lost, since the capture began.",
        labels=["reason"],
    )
    for reason, count in capture["lost"].items():
        lost.add_metric([reason], count)
    yield lost
    yield GaugeMetricFamily(
        "fwdcap_capture_pending_bytes",
        "Emitted and not yet readable.",
        capture["pending_bytes"] or 0,
    )


def _store(store: Body) -> Iterator[Metric]:
    archive = store.get("archive")
    places = {"store": store} | ({"archive": archive} if archive else {})
    for name, meaning in (
        ("used", "Bytes of the store."),
        ("free", "Bytes free on its disk."),
        ("total", "Bytes of its disk."),
    ):
        suffix = "size" if name == "total" else name
        gauge = GaugeMetricFamily(f"fwdcap_store_{suffix}_bytes", meaning, labels=["place"])
        for place, found in places.items():
            gauge.add_metric([place], found[f"{name}_bytes"])
        yield gauge
