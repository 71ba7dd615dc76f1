"""/plain/view, /plain/split and /pcap/splittime: what is listed is what is sent."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from export_kit import Record as Sent
from export_kit import records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builder import StreamBuilder
from store_recording import BEGIN_NS, NS, Record, Recording
from web_fakes import Site, make_site

from fwdcap.store.views import VIEWS
from webui import sending

pytestmark = pytest.mark.unit

STREAM = "cli_capture_20150620_2028"
NAMES = (
    *("split_1sec", "split_10sec", "split_1min", "split_10min", "split_15min", "split_1hour"),
    *("split_1MB", "split_10MB", "split_100MB", "split_1GB", "split_10GB", "split_100GB"),
    "split_1TB",
)
# Seconds since the first: a second without a packet, a long gap, two at one time, a new segment.
AT_NS = (0, 400_000_000, NS, NS + 7, 3 * NS + 1, 3 * NS + 1, 75 * NS, 4000 * NS, 4000 * NS + 9)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, "Asia/Tokyo")


def recorded(site: Site, count: int = len(AT_NS), complete: bool = True) -> list[Record]:
    """The first so many of those packets, in place of what was there before."""
    found = [
        Record(BEGIN_NS + at, n.to_bytes(4, "big") * 15, new=n in (4, 7))
        for n, at in enumerate(AT_NS[:count])
    ]
    shutil.rmtree(site.store / "streams", ignore_errors=True)
    Recording(site.store, found, STREAM).write(complete)
    return found


def split_rows(site: Site, view: str) -> list[list[str]]:
    answer = site.get(f"/plain/split?StreamName={STREAM}&StreamView={view}")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    heading, *rows = answer.text.splitlines()
    assert heading == "Name,Size Bytes,Packet Count,URL"
    return [row.split(",") for row in rows]


def sent(found: list[Record]) -> list[Sent]:
    return [Sent(each.ns, each.frame, len(each.frame)) for each in found]


def window(start: object, stop: object) -> str:
    return f"/pcap/splittime?StreamName={STREAM}&Start={start}&Stop={stop}"


# ---- /plain/view


def test_views_are_the_contracts_thirteen(site: Site) -> None:
    recorded(site)
    answer = site.get(f"/plain/view?StreamName={STREAM}")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert answer.text == "SplitMode,Link\n" + "".join(
        f"{name},/plain/split?StreamName={STREAM}&StreamView={name}\n" for name in NAMES
    )
    assert tuple(view.name for view in VIEWS) == NAMES


def test_every_link_of_a_view_leads_to_splits(site: Site) -> None:
    recorded(site)
    for row in site.get(f"/plain/view?StreamName={STREAM}").text.splitlines()[1:]:
        link = row.split(",")[1]
        assert site.get(link).status_code == 200
        assert site.get(link, method="HEAD").status_code == 200


# ---- /plain/split


def test_rows_are_the_contracts_to_the_byte(site: Site) -> None:
    start, stop = 1434793007780373366, 1434793008780383914
    third = Record(stop + 1, bytes(6))
    Recording(site.store, [Record(start, bytes(60)), Record(stop, bytes(20)), third], STREAM).write(
        complete=True
    )
    answer = site.get(f"/plain/split?StreamName={STREAM}&StreamView=split_1sec")
    assert answer.data.decode() == (
        "Name,Size Bytes,Packet Count,URL\n"
        f"20150620_18:36:47.780.373.366,100,1,"
        f"/pcap/splittime?StreamName={STREAM}&Start={start}ULL&Stop={stop}ULL\n"
        f"20150620_18:36:48.780.383.914,82,2,"
        f"/pcap/splittime?StreamName={STREAM}&Start={stop}ULL&Stop={stop + 2}ULL\n"
    )
    assert answer.headers["Content-Length"] == str(len(answer.data))


@pytest.mark.parametrize("view", NAMES)
def test_a_split_is_as_long_and_as_full_as_its_row_says(site: Site, view: str) -> None:
    everything = recorded(site)
    arrived, previous_stop = [], ""
    for _, size, packets, url in split_rows(site, view):
        answer = site.get(url)
        assert answer.status_code == 200
        assert len(answer.data) == int(size) == int(answer.headers["Content-Length"])
        here = records(answer.data)
        assert len(here) == int(packets) > 0
        start, stop = (part.split("=")[1] for part in url.split("&")[1:])
        assert previous_stop in ("", start)
        arrived += here
        previous_stop = stop
    assert arrived == sent(everything)
    assert previous_stop == f"{everything[-1].ns + 1}ULL"


def test_a_view_has_no_row_for_a_time_without_packets(site: Site) -> None:
    recorded(site)
    seconds = [
        int(row[3].split("Start=")[1].split("U")[0]) - BEGIN_NS
        for row in split_rows(site, "split_1sec")
    ]
    assert seconds == [0, NS, 3 * NS + 1, 75 * NS, 4000 * NS]


def test_a_running_captures_growing_split_is_listed_and_grows(site: Site) -> None:
    recorded(site, 3, complete=False)
    first = split_rows(site, "split_1sec")
    recorded(site, 4, complete=False)
    second = split_rows(site, "split_1sec")
    assert first[0] == second[0]
    assert (first[1][2], second[1][2]) == ("1", "2")
    for *_, size, packets, url in (first[1], second[1]):
        assert len(records(site.get(url).data)) == int(packets)
        assert len(site.get(url).data) == int(size)


def test_an_empty_stream_has_no_split(site: Site) -> None:
    StreamBuilder(site.store, STREAM).complete().write()
    assert split_rows(site, "split_1sec") == []


@pytest.mark.parametrize(
    "view", ["split_1sec%20%20", "%20split_1sec", "split_1sec+", "split_1sec&"]
)
def test_blanks_that_a_client_hands_on_are_no_mistake(site: Site, view: str) -> None:
    recorded(site)
    assert site.get(f"/plain/split?StreamName={STREAM}%20&StreamView={view}").status_code == 200
    assert site.get(f"/plain/split?StreamName={STREAM}?StreamView={view}").status_code == 200


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 400, "StreamName is missing"),
        (f"StreamName={STREAM}", 400, "StreamView is missing"),
        (f"StreamName={STREAM}&StreamView=", 400, "StreamView is missing"),
        (f"StreamName={STREAM}&StreamView=split_2sec", 400, "There is no view 'split_2sec'."),
        (f"StreamName={STREAM}&StreamView=SPLIT_1SEC", 400, "There is no view"),
        (f"StreamName={STREAM}&StreamView=%00", 400, "There is no view"),
        (f"StreamName={STREAM}&StreamView=single", 400, "split_1sec, split_10sec"),
        (f"StreamName={STREAM}&StreamView=split_1sec&View=x", 400, "'View' is not known"),
        ("StreamName=none&StreamView=split_1sec", 404, "There is no stream 'none'"),
        ("StreamName=..&StreamView=split_1sec", 404, "There is no stream"),
    ],
)
def test_split_refuses_in_a_sentence(site: Site, query: str, status: int, said: str) -> None:
    recorded(site)
    answer = site.get(f"/plain/split?{query}")
    assert (answer.status_code, answer.mimetype) == (status, "text/plain")
    assert said in answer.text


@pytest.mark.parametrize(
    "stream",
    ["..", "a/b", "a%00b", "%252e%252e", "%C3%A4", "%FF", "none", "x" * 10_000, "%3Cscript%3E"],
)
@pytest.mark.parametrize(
    "path",
    ["/plain/view?", "/plain/split?StreamView=split_1sec&", "/pcap/splittime?Start=1&Stop=2&"],
)
def test_streams_that_are_not_there(site: Site, path: str, stream: str) -> None:
    recorded(site)
    answer = site.get(f"{path}StreamName={stream}")
    assert (answer.status_code, answer.mimetype) == (404, "text/plain")
    assert answer.text.startswith("There is no stream '")
    assert len(answer.text) < 300
    assert str(site.store) not in answer.text


def test_a_stream_deleted_while_it_is_listed_is_not_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(*_: object) -> object:
        yield from ()
        raise FileNotFoundError(2, "No such file", str(site.store))

    recorded(site)
    monkeypatch.setattr("webui.plain.open_splits", vanish)
    answer = site.get(f"/plain/split?StreamName={STREAM}&StreamView=split_1sec")
    assert (answer.status_code, str(site.store) in answer.text) == (404, False)


def test_a_listing_beyond_memory_goes_through_a_file(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(site)
    whole = site.get(f"/plain/split?StreamName={STREAM}&StreamView=split_1sec").data
    monkeypatch.setattr(sending, "TEXT_IN_MEMORY_BYTES", 10)
    assert site.get(f"/plain/split?StreamName={STREAM}&StreamView=split_1sec").data == whole


# ---- /pcap/splittime


def test_window_is_half_open_exact_and_clipped(site: Site) -> None:
    everything = recorded(site)
    for low, high in ((0, 3), (1, 2), (3, 9), (4, 6)):
        start, stop = everything[low].ns, everything[high].ns if high < 9 else 1 << 63
        answer = site.get(window(start, stop))
        assert records(answer.data) == sent(everything[low:high])
        assert answer.headers["Content-Length"] == str(len(answer.data))
        assert answer.headers["Accept-Ranges"] == "bytes"
    assert records(site.get(window(0, 1 << 62)).data) == sent(everything)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(start=st.integers(-5, 4001 * NS), length=st.integers(1, 4001 * NS))
def test_any_window_holds_what_lies_in_it(site: Site, start: int, length: int) -> None:
    if not (site.store / "streams").exists():
        recorded(site)
    everything = [Record(BEGIN_NS + at, n.to_bytes(4, "big") * 15) for n, at in enumerate(AT_NS)]
    low, high = BEGIN_NS + start, BEGIN_NS + start + length
    answer = site.get(window(low, high))
    inside = sent([each for each in everything if low <= each.ns < high])
    if high <= BEGIN_NS or low > everything[-1].ns:
        assert answer.status_code == 404
    else:
        assert records(answer.data) == inside


@pytest.mark.parametrize("suffix", ["", "ULL", "ull"])
def test_times_with_or_without_their_suffix(site: Site, suffix: str) -> None:
    everything = recorded(site)
    answer = site.get(window(f"{everything[0].ns}{suffix}", f"{everything[2].ns}{suffix}&&"))
    assert records(answer.data) == sent(everything[:2])


def test_a_gap_is_the_header_alone(site: Site) -> None:
    recorded(site)
    answer = site.get(window(BEGIN_NS + 80 * NS, BEGIN_NS + 90 * NS))
    assert (answer.status_code, len(answer.data)) == (200, 24)


@pytest.mark.parametrize(("start", "stop"), [(0, BEGIN_NS), (BEGIN_NS + 4001 * NS, 1 << 64)])
def test_outside_the_recording_is_404_that_names_it(site: Site, start: int, stop: int) -> None:
    everything = recorded(site)
    answer = site.get(window(start, min(stop, (1 << 64) - 1)))
    assert answer.status_code == 404
    assert f"recorded from {everything[0].ns} to {everything[-1].ns}" in answer.text


def test_a_window_of_an_empty_stream_is_404(site: Site) -> None:
    StreamBuilder(site.store, STREAM).complete().write()
    answer = site.get(window(0, 1 << 62))
    assert (answer.status_code, "it holds no packet" in answer.text) == (404, True)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("Stop=5", "Start is missing"),
        ("Start=5", "Stop is missing"),
        ("Start=&Stop=5", "Start is missing"),
        ("Start=5&Stop=5", "The time range from 5 to 5 is empty."),
        ("Start=6&Stop=5", "The time range from 6 to 5 is empty."),
        ("Start=-1&Stop=5", "Start='-1' is not a time."),
        ("Start=1&Stop=18446744073709551616", "is not a time."),
        (f"Start=1&Stop={'9' * 5000}", "is not a time."),
        ("Start=0x10&Stop=50", "is not a time."),
        ("Start=1e9&Stop=50", "is not a time."),
        ("Start=1.5&Stop=50", "is not a time."),
        ("Start=ULL&Stop=50", "is not a time."),
        ("Start=ULL1&Stop=50", "is not a time."),
        ("Start=1ULLULL&Stop=50", "is not a time."),
        ("Start=1UL&Stop=50", "is not a time."),
        ("Start=1 ULL&Stop=50", "is not a time."),
        ("Start=%D9%A1&Stop=50", "is not a time."),
        ("Start=1%00&Stop=50", "is not a time."),
        ("Start=1&Start=2&Stop=50", "Start is given twice"),
        ("Start=1&Stop=50&Begin=3", "'Begin' is not known"),
    ],
)
def test_odd_times_are_400_in_a_sentence(site: Site, query: str, said: str) -> None:
    recorded(site)
    answer = site.get(f"/pcap/splittime?StreamName={STREAM}&{query}")
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    assert said in answer.text
    assert len(answer.text) < 300


def test_a_window_resumes_and_says_when_it_changed(site: Site) -> None:
    everything = recorded(site, 6, complete=False)
    url = window(everything[1].ns, 1 << 62)
    whole = site.get(url)
    etag = whole.headers["ETag"]
    assert site.get(url, If_None_Match=etag).status_code == 304
    part = site.get(url, Range="bytes=100-", If_Range=etag)
    assert (part.status_code, part.data) == (206, whole.data[100:])
    assert part.headers["Content-Range"] == f"bytes 100-{len(whole.data) - 1}/{len(whole.data)}"
    head = site.get(url, method="HEAD")
    assert (head.data, head.headers["Content-Length"]) == (b"", str(len(whole.data)))
    recorded(site, 8, complete=False)
    grown = site.get(url, Range="bytes=100-", If_Range=etag)
    assert grown.status_code == 200
    assert grown.data.startswith(whole.data)
    assert site.get(url, Range=f"bytes={len(whole.data)}-").data == grown.data[len(whole.data) :]


def test_the_file_is_named_after_stream_and_window(site: Site) -> None:
    recorded(site)
    said = site.get(window(0, BEGIN_NS + 5)).headers["Content-Disposition"]
    assert said == f'attachment; filename="{STREAM}_0-{BEGIN_NS + 5}.pcap"'


def test_nothing_is_read_twice_by_a_server_that_wraps_files_itself(site: Site) -> None:
    """A window's file object ends where its Content-Length does, whoever reads it."""
    recorded(site)
    taken: list[io.RawIOBase] = []

    def wrapper(file: io.RawIOBase, size: int) -> list[bytes]:
        taken.append(file)
        return [file.read() or b""]

    answer = site.app.test_client().get(
        window(0, BEGIN_NS + NS),
        auth=("fwdcap", "correct horse"),
        environ_overrides={"wsgi.file_wrapper": wrapper},
    )
    assert len(answer.data) == int(answer.headers["Content-Length"])
    assert taken[0].read() == b""
