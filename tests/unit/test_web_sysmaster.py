"""/sysmaster, line by line and refusal by refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from web_fakes import Site, make_site

from fwdcap.errors import Conflict, DiskFull, FwdcapError, Invalid, Unavailable

pytestmark = pytest.mark.unit

START = "/sysmaster/capture_start"
STOP = "/sysmaster/capture_stop"
AWAY = Unavailable("Nothing answers on /run/fwdcap/control.sock.", code="daemon-not-running")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, "Asia/Tokyo")


def test_status_of_a_running_capture_is_the_18_lines_of_the_contract(site: Site) -> None:
    site.control.capture_start("manual_capture_cli")
    site.control.now["capture"] |= {
        "received_packets": 453468480,
        "committed_records": 453468480,
        "committed_bytes": 30835857408,
        "pending_bytes": 4812701696,
        "emitted_bytes": 31705286552,
        "emitted_records": 466254210,
        "bps": 7726900224,
        "pps": 14203859,
    }
    answer = site.get("/sysmaster/status")
    assert answer.mimetype == "text/plain"
    assert answer.text == (
        "uptime, 0D 3H 36M\n"
        "packets_received, 453468480\n"
        "packets_dropped, 0\n"
        "packets_errors, 0\n"
        "packets_captured, 453468480\n"
        "bytes_captured, 30835857408\n"
        "bytes_pending, 4812701696\n"
        "bytes_cache, 0\n"
        "bytes_disk, 33742389248\n"
        "capture_link, up\n"
        "capture_link_uptime, 0D 3H 36M\n"
        "capture_link_speed, 10000\n"
        "capture_bytes, 31705286552\n"
        "capture_packets, 466254210\n"
        "capture_bps, 7726900224\n"
        "capture_pps, 14203859\n"
        "capture_name, manual_capture_cli\n"
        "capture_active, true\n"
    )


def test_status_after_stop_keeps_the_counters_and_names_none(site: Site) -> None:
    site.control.capture_start("x")
    site.control.count(101_000_000, size=68, lost=7)
    site.control.now["capture"]["error_packets"] = 3
    site.control.capture_stop()
    lines = dict(line.split(", ") for line in site.get("/sysmaster/status").text.splitlines())
    assert lines["packets_captured"] == "101000000"
    assert lines["packets_dropped"] == "7"
    assert lines["packets_errors"] == "3"
    assert (lines["capture_bps"], lines["capture_pps"]) == ("0", "0")
    assert (lines["capture_name"], lines["capture_active"]) == ("none", "false")


def test_status_with_the_link_down_and_unknown_speed(site: Site) -> None:
    site.control.now["datapath"] |= {"link": "down", "link_speed_mbit": None, "link_since_ns": None}
    lines = dict(line.split(", ") for line in site.get("/sysmaster/status").text.splitlines())
    assert lines["capture_link"] == "down"
    assert lines["capture_link_uptime"] == "0D 0H 0M"
    assert lines["capture_link_speed"] == "0"


def test_start_and_stop_answer_to_the_byte_in_the_appliances_zone(site: Site) -> None:
    started = site.get(f"{START}?StreamName=cli_capture")
    assert started.mimetype == "application/json"
    assert started.data == (
        b'{"Status":true,"Str":"[Sat Jun 20 20:29:56 2015] '
        b'successfully started capture [cli_capture]"}'
    )
    assert site.get(STOP).data == (
        b'{"Status":true,"Str":"[Sat Jun 20 20:29:56 2015] '
        b'successfully stopped capture [cli_capture]"}'
    )
    assert site.control.asked == [("start", "cli_capture", None), ("stop",)]


@pytest.mark.parametrize(
    "query",
    [
        "StreamName=x&Snaplen=128",
        " StreamName = x &Snaplen=+128+".replace(" ", "%20"),
        "StreamName=x&&Snaplen=128&",
        "StreamName=x?Snaplen=128",
        "&StreamName=x&Snaplen=128&rand=0.7&_=1434799736",
        "StreamName=x&StreamName=x&Snaplen=128",
    ],
)
def test_slips_of_existing_scripts_are_understood(site: Site, query: str) -> None:
    assert site.get(f"{START}?{query}").json["Status"] is True
    assert site.control.asked == [("start", "x", 128)]


def test_limits_reach_the_daemon(site: Site) -> None:
    query = "StreamName=x&Snaplen=128&MaxSeconds=60&MaxBytes=10GB&MaxPackets=7"
    assert site.get(f"{START}?{query}").json["Status"] is True
    caps = {"max_seconds": 60, "max_packets": 7, "max_bytes": 10**10}
    assert site.control.asked == [("start", "x", 128, caps)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "name is missing"),
        ("StreamName=", "name is missing"),
        ("StreamName=..", "cannot be used"),
        ("StreamName=.x", "cannot be used"),
        ("StreamName=a/b", "cannot be used"),
        ("StreamName=a%00b", "cannot be used"),
        ("StreamName=a%252eb", "cannot be used"),
        ("StreamName=%C3%A4", "cannot be used"),
        ("StreamName=%FF", "cannot be used"),
        ("StreamName=" + "x" * 10_000, "cannot be used"),
        ("StreamName=" + "x" * 129, "cannot be used"),
        ("StreamName=a&StreamName=b", "StreamName is given twice"),
        ("StreamName=a&Snaplen=-1", "Snaplen"),
        ("StreamName=a&Snaplen=1e3", "Snaplen"),
        ("StreamName=a&Snaplen=262145", "Snaplen"),
        ("StreamName=a&Snaplen=", "Snaplen"),
        ("StreamName=a&Colour=red", "'Colour' is not known"),
        ("StreamName=a&streamname=b", "'streamname' is not known"),
        ("StreamName=a&MaxSeconds=1h", "MaxSeconds='1h' is not a whole number"),
        ("StreamName=a&MaxPackets=-1", "MaxPackets='-1' is not a whole number"),
        ("StreamName=a&MaxBytes=10%20parsecs", "'10 parsecs' is no size"),
    ],
)
def test_start_refuses_and_says_why(site: Site, query: str, said: str) -> None:
    answer = site.get(f"{START}?{query}")
    assert answer.status_code == 400
    body = answer.get_json()
    assert list(body) == ["Status", "Str"]
    assert body["Status"] is False
    assert body["Str"].startswith("[Sat Jun 20 20:29:56 2015] ")
    assert said in body["Str"]
    assert len(body["Str"]) < 300
    assert site.control.asked == []


@pytest.mark.parametrize("path", ["/sysmaster/status", STOP])
def test_unknown_parameters_are_named_everywhere(site: Site, path: str) -> None:
    answer = site.get(f"{path}?Colour=red")
    assert (answer.status_code, "'Colour'" in answer.get_json()["Str"]) == (400, True)
    assert site.control.asked == []


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (Invalid("Bad name.", code="x"), 400, "Bad name."),
        (Conflict("A capture is running: [y].", code="x"), 409, "[y]"),
        (DiskFull("The disk is full.", code="x"), 507, "full"),
        (Unavailable("There is no capture interface.", code="x"), 503, "no capture interface"),
        (AWAY, 503, "does not answer"),
        (FwdcapError("Writing /var/lib/fwdcap/streams/x failed.", code="x"), 500, "failed"),
    ],
)
def test_the_daemons_refusals_have_the_same_shape(
    site: Site, error: FwdcapError, status: int, said: str
) -> None:
    site.control.refusal = error
    answer = site.get(f"{START}?StreamName=x")
    assert answer.status_code == status
    assert answer.get_json()["Status"] is False
    assert said in answer.get_json()["Str"]
    assert "/run" not in answer.text
    assert "/var" not in answer.text


@pytest.mark.parametrize("path", ["/sysmaster/status", STOP, f"{START}?StreamName=x"])
def test_without_a_daemon_everything_is_503_in_json(site: Site, path: str) -> None:
    site.control.refusal = AWAY
    answer = site.get(path)
    assert answer.status_code == 503
    assert json.loads(answer.data)["Status"] is False


def test_conflicts_name_what_runs(site: Site) -> None:
    assert site.get(STOP).status_code == 409
    site.get(f"{START}?StreamName=first")
    again = site.get(f"{START}?StreamName=second")
    assert (again.status_code, "[first]" in again.get_json()["Str"]) == (409, True)


def test_what_breaks_unforeseen_tells_nothing(site: Site) -> None:
    del site.control.now["capture"]
    answer = site.get("/sysmaster/status")
    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert "KeyError" not in answer.text


def test_head_reads_but_never_changes(site: Site) -> None:
    read = site.get("/sysmaster/status", method="HEAD")
    assert (read.status_code, read.data) == (200, b"")
    for path in (f"{START}?StreamName=x", STOP):
        answer = site.get(path, method="HEAD")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert site.get(STOP, method="POST").status_code == 405
    assert site.control.asked == []
