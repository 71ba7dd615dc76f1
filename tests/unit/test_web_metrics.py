"""/metrics: every number of a moment, in names Prometheus can read."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_metrics
from store_builder import example
from web_fakes import PASSWORD, Site, make_site, write_users
from werkzeug.wsgi import FileWrapper

from fwdcap import __version__
from fwdcap.errors import Unavailable
from fwdcap.store.download import Part, Ranges
from fwdcap.users.roles import Role
from webui.meter import Meter, Watched

pytestmark = pytest.mark.unit

S = "cli_capture_20150620_1128"
Labels = tuple[tuple[str, str], ...]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = make_site(tmp_path)
    example(tmp_path)
    return site


def scrape(site: Site) -> dict[tuple[str, Labels], float]:
    """Every sample by name and labels."""
    site.now[0] += 1
    answer = site.get("/metrics")
    assert answer.status_code == 200
    found = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for family in plain_metrics(answer.text)
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def value(site: Site, name: str, **labels: str) -> float:
    return scrape(site)[name, tuple(sorted(labels.items()))]


def test_what_each_route_counts_by_direction_and_mode(site: Site) -> None:
    route = site.control.now["routes"][0]
    route["to_server"] |= {"matched_packets": 12, "matched_bytes": 1200, "dropped_packets": 2}
    route["to_server"] |= {"forwarded_packets": 10, "forwarded_bytes": 1000}
    route["to_client"]["lost_packets"]["egress"] = 3
    route["to_client"]["recorded_packets"]["ingress"] = 4
    now = scrape(site)
    there = (("direction", "to_server"), ("route", "orders-db"))
    for name, count in (
        ("matched_packets", 12),
        ("matched_bytes", 1200),
        ("forwarded_packets", 10),
        ("forwarded_bytes", 1000),
        ("dropped_packets", 2),
    ):
        assert now[f"fwdcap_route_{name}_total", there] == count
    for name, mode, count in (
        ("lost_packets", "egress", 3),
        ("lost_packets", "inline", 0),
        ("recorded_packets", "ingress", 4),
        ("recorded_packets", "inline", 166254),
    ):
        labels = (("direction", "to_client"), ("mode", mode), ("route", "orders-db"))
        assert now[f"fwdcap_route_{name}_total", labels] == count


def test_data_path_capture_ring_and_store(site: Site) -> None:
    site.control.capture_start("x")
    site.control.count(1000, lost=7)
    site.control.now["capture"]["pending_bytes"] = 96
    site.control.now["warnings"] = [{"code": "link-down", "message": "x", "hint": ""}]
    now = scrape(site)
    cap0 = (("interface", "cap0"),)
    assert now["fwdcap_daemon_up", ()] == 1
    assert now["fwdcap_info", (("version", __version__),)] == 1
    assert now["fwdcap_datapath_forwarding", cap0] == 1
    assert now["fwdcap_link_up", cap0] == 1
    assert now["fwdcap_link_speed_bits_per_second", cap0] == 10**10
    assert now["fwdcap_ring_used_bytes", cap0] == 4096
    assert now["fwdcap_ring_size_bytes", cap0] == 1 << 20
    assert now["fwdcap_reason_packets_total", (("reason", "pass-no-route"),)] == 812
    assert now["fwdcap_capture_active", ()] == 1
    assert now["fwdcap_recorder", (("state", "running"),)] == 1
    assert now["fwdcap_recorder", (("state", "failed"),)] == 0
    assert now["fwdcap_capture_received_packets_total", ()] == 1007
    assert now["fwdcap_capture_emitted_records_total", ()] == 1000
    assert now["fwdcap_capture_committed_bytes_total", ()] == 64_000
    assert now["fwdcap_capture_lost_records_total", (("reason", "ring-full"),)] == 7
    assert now["fwdcap_capture_pending_bytes", ()] == 96
    assert now["fwdcap_store_used_bytes", (("place", "store"),)] == 33742389248
    assert now["fwdcap_store_free_bytes", (("place", "store"),)] == 1 << 40
    assert now["fwdcap_store_size_bytes", (("place", "store"),)] == 1 << 41
    assert now["fwdcap_warning", (("code", "link-down"),)] == 1


def test_the_archive_is_a_place_of_its_own(site: Site) -> None:
    sizes = {"used_bytes": 1, "free_bytes": 2, "total_bytes": 3}
    site.control.now["store"]["archive"] = {"path": "/mnt/x", "there": True, **sizes}
    assert value(site, "fwdcap_store_free_bytes", place="archive") == 2


def test_an_appliance_without_an_interface_has_metrics_too(site: Site) -> None:
    site.control.now["datapath"] |= {"interface": None, "state": "none", "link": "down"}
    site.control.now["routes"] = []
    assert value(site, "fwdcap_datapath_forwarding", interface="") == 0


def test_a_daemon_that_is_away_is_a_number(site: Site) -> None:
    site.control.refusal = Unavailable("Away.", code="daemon-not-running")
    now = scrape(site)
    assert now["fwdcap_daemon_up", ()] == 0
    assert ("fwdcap_downloads", (("kind", "plain"),)) in now
    assert not [name for name, _ in now if name.startswith(("fwdcap_route", "fwdcap_capture"))]


def test_names_have_base_units(site: Site) -> None:
    families = list(plain_metrics(site.get("/metrics").text))
    assert len(families) > 25
    for family in families:
        assert family.documentation.endswith("."), family.name
        assert re.fullmatch(r"fwdcap_[a-z_]+", family.name)
        assert not re.search(r"_(ns|ms|mbit|kb|mb|gb|minutes|hours)(_|$)", family.name)
        for sample in family.samples:
            assert sample.name.endswith("_total") is (family.type == "counter"), sample.name


def test_open_metrics_where_it_is_asked_for(site: Site) -> None:
    answer = site.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.mimetype == "application/openmetrics-text"
    names = {family.name for family in open_metrics(answer.text)}
    assert {"fwdcap_route_matched_packets", "fwdcap_ring_used_bytes"} <= names
    plain = site.get("/metrics", Accept="text/html, */*")
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_a_viewer_may_read_them_and_nobody_without_a_login(site: Site) -> None:
    write_users(site.store, viewer={"role": Role.VIEWER.value})
    assert site.get("/metrics", user="viewer").status_code == 200
    answer = site.app.test_client().get("/metrics", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.mimetype) == (401, "text/plain")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="fwdcap"'
    refused = site.get("/metrics?x=1")
    assert (refused.status_code, refused.mimetype) == (400, "text/plain")


def test_requests_are_counted_by_family_and_status(site: Site) -> None:
    site.get("/plain/list")
    site.get("/plain/list")
    site.get("/api/v1/nothing")
    now = scrape(site)
    assert now["fwdcap_http_requests_total", (("family", "plain"), ("status", "200"))] == 2
    assert now["fwdcap_http_requests_total", (("family", "api"), ("status", "404"))] == 1


def test_a_plain_download_from_first_byte_to_last(site: Site) -> None:
    client = site.app.test_client()
    url = f"/pcap/single?StreamName={S}"
    answer = client.get(url, auth=("fwdcap", PASSWORD), buffered=False)
    assert value(site, "fwdcap_downloads", kind="plain") == 1
    length = len(answer.data)
    answer.close()
    now = scrape(site)
    assert now["fwdcap_downloads", (("kind", "plain"),)] == 0
    assert now["fwdcap_downloads_finished_total", (("kind", "plain"), ("result", "whole"))] == 1
    assert now["fwdcap_download_sent_bytes_total", (("kind", "plain"),)] == length
    site.get(url, Range="bytes=0-99").close()
    assert value(site, "fwdcap_download_sent_bytes_total", kind="plain") == length + 100
    site.get(url, method="HEAD")
    assert value(site, "fwdcap_downloads_finished_total", kind="plain", result="whole") == 2


def test_a_filtered_download_from_first_byte_to_last(site: Site) -> None:
    url = f"/pcap/single?StreamName={S}&Snaplen=20"
    whole = site.get(url)
    length = len(whole.data)
    now = scrape(site)
    kind = ("kind", "filtered")
    assert now["fwdcap_downloads_finished_total", (kind, ("result", "whole"))] == 1
    assert now["fwdcap_download_sent_bytes_total", (kind,)] == length
    left = site.app.test_client().get(url, auth=("fwdcap", PASSWORD), buffered=False)
    assert value(site, "fwdcap_downloads", kind="filtered") == 1
    left.close()
    now = scrape(site)
    assert now["fwdcap_downloads", (kind,)] == 0
    assert now["fwdcap_downloads_finished_total", (kind, ("result", "broken"))] == 1


@pytest.fixture
def meter() -> Meter:
    return Meter()


def watched(meter: Meter) -> Watched:
    return Watched(Ranges([Part(1000, head=bytes(1000))]), meter.begin("plain"))


def test_what_a_server_reads_ahead_is_not_sent(meter: Meter) -> None:
    """As waitress does it: it asks for the length, reads, goes back, and steps on."""
    file = watched(meter)
    file.seek(0, 2)
    assert file.tell() == 1000
    file.seek(0)
    at = file.tell()
    assert len(file.read(400)) == 400
    file.seek(at)
    assert meter.downloads("plain").sent_bytes == 0
    file.seek(250, 1)
    assert meter.downloads("plain").sent_bytes == 250
    file.close()
    file.close()
    seen = meter.downloads("plain")
    assert (seen.running, seen.whole, seen.broken, seen.sent_bytes) == (0, 0, 1, 250)


def test_a_file_that_was_read_to_its_end_is_whole(meter: Meter) -> None:
    wrapper = FileWrapper(watched(meter), 64)  # type: ignore[arg-type]
    copy = BytesIO(b"".join(wrapper))
    wrapper.close()
    seen = meter.downloads("plain")
    assert (seen.whole, seen.broken, seen.sent_bytes) == (1, 0, len(copy.getvalue()))
