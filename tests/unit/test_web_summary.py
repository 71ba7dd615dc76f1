"""capture_status and stats_summary: the keys of later firmware, in their order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from store_builder import SECOND_NS, STARTED_NS, StreamBuilder, packets
from web_fakes import NOW_NS, Site, make_site

from fwdcap.errors import Unavailable

pytestmark = pytest.mark.unit

STATUS = "/sysmaster/capture_status"
SUMMARY = "/sysmaster/stats_summary"


def pairs(found: list[tuple[str, object]]) -> list[list[object]]:
    return [[name, value] for name, value in found]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, "Asia/Tokyo")


def test_capture_status_of_a_running_capture(site: Site) -> None:
    site.control.capture_start("capturetest")
    site.control.count(36312769, size=68)
    answer = site.get(STATUS)
    assert answer.mimetype == "application/json"
    assert answer.text == (
        '{"Status":true,"GUIMode":"full","StreamName":"capturetest","CaptureEnable":"true",'
        f'"CaptureTime":{STARTED_NS // SECOND_NS}.0,"CaptureByte":{36312769 * 68},'
        '"CapturePacket":36312769,"CaptureBps":7726900224,"CapturePps":14203859,'
        '"CurrentTime":"2015/06/20   20:29"}'
    )


def test_capture_status_after_stop_keeps_the_last_capture(site: Site) -> None:
    site.control.capture_start("x")
    site.control.count(1000)
    site.control.capture_stop()
    body = site.get(STATUS).get_json()
    assert (body["StreamName"], body["CaptureEnable"]) == ("x", "false")
    assert (body["CapturePacket"], body["CaptureBps"], body["CapturePps"]) == (1000, 0, 0)


def test_capture_status_before_any_capture(site: Site) -> None:
    body = site.get(STATUS).get_json()
    assert (body["StreamName"], body["CaptureEnable"]) == ("none", "false")
    assert (body["CaptureTime"], body["CaptureByte"], body["CapturePacket"]) == (0, 0, 0)


def test_stats_summary(site: Site) -> None:
    days_ns = (1505 * 1440 + 57) * 60 * SECOND_NS
    for name, first_ns in (("old", NOW_NS - days_ns), ("new", STARTED_NS)):
        StreamBuilder(site.store, name).add(packets(3, start_ns=first_ns)).complete().write()
    StreamBuilder(site.store, "empty").complete().write()
    site.control.capture_start("x")
    site.control.count(1000, size=68, lost=7)
    site.control.now["capture"] |= {"error_packets": 3, "pending_bytes": 5}
    answer = site.get(SUMMARY)
    assert answer.mimetype == "application/json"
    assert json.loads(answer.text, object_pairs_hook=pairs) == [
        ["uptime", "0D 3H 36M"],
        ["packets_received", 1007],
        ["packets_dropped", 7],
        ["packets_errors", 3],
        ["packets_captured", 1000],
        ["packets_oldest", "07 May 2011 19:32:56"],
        ["packets_oldest_ts", str(NOW_NS - days_ns)],
        ["capture_days", "1505D  0H 57M"],
        ["bytes_captured", 68000],
        ["bytes_pending", 5],
        ["bytes_disk", 33742389248],
        ["bytes_overflow", 0],
        ["smart_errors", 0],
        ["raid_errors", 0],
        ["raid_status", "none"],
        ["stream_errors", 0],
        ["chunk_errors", 0],
        ["ecc_errors", 0],
    ]


def test_stats_summary_of_an_empty_store(site: Site) -> None:
    body = site.get(SUMMARY).get_json()
    assert (body["packets_oldest"], body["packets_oldest_ts"]) == ("none", "0")
    assert body["capture_days"] == "0D  0H  0M"


@pytest.mark.parametrize("path", [STATUS, SUMMARY])
def test_both_refuse_in_their_shape_and_answer_head(site: Site, path: str) -> None:
    assert site.get(path, method="HEAD").status_code == 200
    assert site.get(f"{path}?rand=1&").status_code == 200
    assert site.app.test_client().get(path).status_code == 401
    assert site.get(path, method="POST").status_code == 405
    unknown = site.get(f"{path}?Colour=red")
    assert (unknown.status_code, unknown.get_json()["Status"]) == (400, False)
    site.control.refusal = Unavailable("x", code="daemon-gone")
    away = site.get(path)
    assert (away.status_code, away.get_json()["Status"]) == (503, False)
