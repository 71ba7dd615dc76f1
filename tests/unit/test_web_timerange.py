"""/pcap/timerange across streams, and /pcap/del."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from export_kit import Record, records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builder import SECOND_NS, STARTED_NS, Packet, StreamBuilder
from test_export_pcapng import fields
from web_fakes import PASSWORD, Site, make_site, post

from fwdcap import abi
from fwdcap.errors import Conflict, Unavailable
from fwdcap.store import pcap

pytestmark = pytest.mark.unit

HOUR_NS = 3600 * SECOND_NS
FAR_NS = 1 << 62


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def packets_at(start_ns: int, count: int = 6) -> list[Packet]:
    """A quarter of a second apart, no two alike."""
    return [
        Packet(start_ns + n * SECOND_NS // 4, (start_ns + n).to_bytes(12, "big") * 5)
        for n in range(count)
    ]


def three(site: Site) -> list[Packet]:
    """Streams an hour apart, written in another order than they began; one more is empty."""
    everything = []
    for number in (1, 0, 2):
        begin_ns = STARTED_NS + number * HOUR_NS
        mine = packets_at(begin_ns)
        built = StreamBuilder(site.store, f"s{number}", started_ns=begin_ns)
        built.add(mine[:3]).roll().add(mine[3:])
        (built if number == 2 else built.complete()).write(tail=bytes(100))
        everything += mine
    StreamBuilder(site.store, "empty", started_ns=STARTED_NS + 90).complete().write()
    return sorted(everything, key=lambda each: each.ns)


def url(begin: object, end: object, more: str = "", path: str = "/pcap/timerange") -> str:
    return f"{path}?TSBegin={begin}&TSEnd={end}{more}"


def single(sent: list[Packet]) -> bytes:
    return pcap.file_header() + b"".join(each.record for each in sent)


@pytest.mark.parametrize("path", ["/pcap/timerange", "/api/v1/pcap/timerange"])
def test_all_streams_as_one_file_in_order_of_time(site: Site, path: str) -> None:
    sent = three(site)
    answer = site.get(url(0, FAR_NS, path=path))
    assert answer.data == single(sent)
    assert answer.mimetype == "application/vnd.tcpdump.pcap"
    assert answer.headers["Content-Length"] == str(len(answer.data))
    said = f'attachment; filename="timerange_0-{FAR_NS}.pcap"'
    assert answer.headers["Content-Disposition"] == said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    begin=st.integers(-SECOND_NS, 2 * HOUR_NS + 3 * SECOND_NS),
    length=st.integers(1, 2 * HOUR_NS),
)
def test_any_window_holds_what_lies_in_it(site: Site, begin: int, length: int) -> None:
    sent = three(site) if not (site.store / "streams").exists() else SENT
    SENT[:] = sent
    low, high = STARTED_NS + begin, STARTED_NS + begin + length
    answer = site.get(url(low, high))
    inside = [each for each in sent if low <= each.ns < high]
    if inside:
        assert answer.data == single(inside)
    else:
        assert answer.status_code in (200, 404)
        assert answer.status_code == 404 or len(answer.data) == 24


SENT: list[Packet] = []


def test_across_streams_it_resumes_like_one_file(site: Site) -> None:
    whole = single(three(site))
    where = url(0, FAR_NS)
    etag = site.get(where).headers["ETag"]
    for cut in (0, 10, 24, 25, 300, len(whole) - 1):
        part = site.get(where, Range=f"bytes={cut}-", If_Range=etag)
        assert (part.status_code, part.data) == (206, whole[cut:])
    assert site.get(where, If_None_Match=etag).status_code == 304
    head = site.get(where, method="HEAD")
    assert (head.data, head.headers["Content-Length"]) == (b"", str(len(whole)))


@pytest.mark.parametrize(
    ("unit", "ns"),
    [
        ("nanos", 1),
        ("nsec", 1),
        ("usec", 1000),
        ("msec", 10**6),
        ("msecs", 10**6),
        ("sec", 10**9),
        ("SEC", 10**9),
    ],
)
@pytest.mark.parametrize("name", ["TSUnit", "TSMode"])
def test_units(site: Site, name: str, unit: str, ns: int) -> None:
    sent = three(site)
    begin = STARTED_NS // ns
    answer = site.get(url(begin, begin + SECOND_NS // ns, f"&{name}={unit}&TSZone=UTC&TSMax=60"))
    assert answer.data == single(sent[:4])
    both = site.get(url(begin, begin + SECOND_NS // ns, f"&TSUnit={unit}&TSMode={unit}"))
    assert both.data == single(sent[:4])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "TSBegin is missing"),
        ("TSBegin=1", "TSEnd is missing"),
        ("TSBegin=5&TSEnd=5", "The time range from 5 to 5 is empty."),
        ("TSBegin=6&TSEnd=5", "The time range from 6 to 5 is empty."),
        ("TSBegin=-1&TSEnd=5", "TSBegin='-1' is not a time."),
        ("TSBegin=1.5&TSEnd=5", "is not a time."),
        ("TSBegin=20231001_0300&TSEnd=20231001_0400", "is not a time."),
        ("TSBegin=1&TSEnd=18446744073709551616", "is not a time."),
        ("TSBegin=1&TSEnd=18446744073709551615&TSUnit=sec", "is not a time."),
        ("TSBegin=1&TSEnd=5&TSUnit=YYYYMMDD_HHMMSS", "There is no unit"),
        ("TSBegin=1&TSEnd=5&TSUnit=", "There is no unit"),
        ("TSBegin=1&TSEnd=5&TSUnit=sec&TSMode=nsec", "say different units"),
        ("TSBegin=1&TSEnd=5&TSMax=x", "TSMax='x' is not a whole number"),
        ("TSBegin=1&TSEnd=5&StreamName=x", "'StreamName' is not known"),
    ],
)
def test_odd_values_are_400_in_a_sentence(site: Site, query: str, said: str) -> None:
    three(site)
    answer = site.get(f"/pcap/timerange?{query}")
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    assert said in answer.text
    assert len(answer.text) < 600
    error = site.get(f"/api/v1/pcap/timerange?{query}")
    assert (error.status_code, list(error.get_json())) == (400, ["error"])
    assert said in error.get_json()["error"]["message"]


def test_outside_all_recordings_is_404_that_names_them(site: Site) -> None:
    sent = three(site)
    for low, high in ((0, STARTED_NS), (sent[-1].ns + 1, FAR_NS), (STARTED_NS + HOUR_NS - 9, 0)):
        answer = site.get(url(low, high or low + 5))
        assert answer.status_code == 404
        assert f"recorded from {sent[0].ns} to {sent[-1].ns}" in answer.text


@pytest.mark.parametrize("empty", [False, True])
def test_a_store_without_a_packet_says_so(site: Site, empty: bool) -> None:
    if empty:
        StreamBuilder(site.store, "empty").complete().write()
    answer = site.get(url(0, FAR_NS))
    assert (answer.status_code, "the store holds no packet" in answer.text) == (404, True)


def test_filters_go_across_streams(site: Site) -> None:
    sent = three(site)
    low, high = sent[4].ns, sent[-2].ns
    answer = site.get(url(low, high, "&FilterBPF=len+%3E+0&Compression=fast"))
    assert records(gzip.decompress(answer.data)) == [
        Record(each.ns, each.frame, len(each.frame)) for each in sent[4:-2]
    ]
    assert answer.headers["Content-Disposition"].endswith(f'timerange_{low}-{high}.pcap.gz"')
    ng = site.get(url(low, high, "&Format=pcapng")).data
    assert len(fields(ng, "frame.len")) == len(sent[4:-2])


def test_streams_of_different_link_types_are_not_mixed(site: Site) -> None:
    three(site)
    first = site.store / "streams" / "s1" / "000000.pcap"
    raw = first.read_bytes()
    first.write_bytes(pcap.file_header(abi.LINKTYPE_ETHERNET + 100) + raw[24:])
    answer = site.get(url(0, FAR_NS))
    assert (answer.status_code, "different link types" in answer.text) == (400, True)
    assert site.get(url(0, STARTED_NS + 9)).status_code == 200


# ---- /pcap/del


def test_delete_goes_through_the_daemon(site: Site) -> None:
    three(site)
    answer = site.get("/pcap/del?StreamName=s1&rand=1530498848939065088&")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert answer.text == "deleted stream [s1]\n"
    assert site.control.asked == [("delete", "s1")]
    assert "s1 ," not in site.get("/plain/list").text
    assert site.get("/pcap/del?StreamName=s1").status_code == 404


def test_what_is_being_recorded_stays(site: Site) -> None:
    site.control.capture_start("x")
    StreamBuilder(site.store, "x_20150620_1128").write()
    answer = site.get("/pcap/del?StreamName=x_20150620_1128")
    assert (answer.status_code, "is being recorded" in answer.text) == (409, True)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("StreamName=", 400),
        ("StreamName=s1&Force=1", 400),
        ("StreamName=..", 404),
        ("StreamName=s1/../s2", 404),
        ("StreamName=%2e%2e%2fs1", 404),
        ("StreamName=s1%00", 404),
        ("StreamName=" + "x" * 10_000, 404),
    ],
)
def test_hostile_deletes_never_reach_the_daemon(site: Site, query: str, status: int) -> None:
    three(site)
    answer = site.get(f"/pcap/del?{query}")
    assert (answer.status_code, answer.mimetype) == (status, "text/plain")
    assert site.control.asked == []


def test_the_daemons_refusals_are_passed_on(site: Site) -> None:
    three(site)
    site.control.refusal = Conflict("Stream s1 is busy.", code="x")
    assert site.get("/pcap/del?StreamName=s1").status_code == 409
    site.control.refusal = Unavailable("x", code="daemon-gone")
    assert site.get("/pcap/del?StreamName=s1").status_code == 503


def test_delete_is_not_for_heads_sessions_or_other_sites(site: Site) -> None:
    three(site)
    where = "/pcap/del?StreamName=s1"
    assert site.get(where, method="HEAD").status_code == 405
    assert site.get(where, Sec_Fetch_Site="cross-site").status_code == 403
    assert site.get(where, Origin="http://evil.example").status_code == 403
    assert site.browser().get(where).status_code == 403
    assert site.app.test_client().get(where).status_code == 401
    assert site.control.asked == []
    own = site.browser().get(where, headers={"Sec-Fetch-Site": "same-origin"})
    assert own.status_code == 200


def test_a_deleted_streams_page_form_needs_its_token(site: Site) -> None:
    three(site)
    browser = site.browser()
    assert browser.post("/files/delete", data={"stream": "s1"}).status_code == 400
    assert site.control.asked == []
    answer = post(browser, "/files/delete", stream="s1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/files")
    assert "Deleted stream [s1]." in browser.get("/files").text
    assert PASSWORD not in answer.text
