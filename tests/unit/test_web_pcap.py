"""/pcap/single: exact, by the whole and by ranges."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builder import StreamBuilder, example, packets
from web_fakes import Site, make_site

from fwdcap.errors import Unavailable

pytestmark = pytest.mark.unit

URL = "/pcap/single?StreamName=cli_capture_20150620_1128&"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def test_whole_stream_with_its_headers(site: Site) -> None:
    built = example(site.store)
    answer = site.get(URL)
    assert answer.status_code == 200
    assert answer.data == built.single()
    assert answer.mimetype == "application/vnd.tcpdump.pcap"
    assert answer.headers["Content-Length"] == str(len(built.single()))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{built.stream}.pcap"'
    assert "Content-Range" not in answer.headers


def test_head_is_get_without_the_body(site: Site) -> None:
    example(site.store)
    got, head = site.get(URL), site.get(URL, method="HEAD")
    assert (head.status_code, head.data) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Content-Disposition"):
        assert head.headers[name] == got.headers[name]
    ranged = site.get(URL, method="HEAD", Range="bytes=0-9")
    assert (ranged.status_code, ranged.headers["Content-Length"]) == (
        200,
        got.headers["Content-Length"],
    )


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-", 0, None),
        ("bytes=0-0", 0, 1),
        ("bytes=0-23", 0, 24),
        ("bytes=23-24", 23, 25),
        ("bytes=100-", 100, None),
        ("bytes=2500-6000", 2500, 6001),
        ("bytes=7000-999999", 7000, None),
        ("bytes=-1", -1, None),
        ("bytes=-5000", -5000, None),
        ("bytes=-999999", 0, None),
    ],
)
def test_one_range(site: Site, asked: str, start: int, stop: int | None) -> None:
    whole = example(site.store).single()
    answer = site.get(URL, Range=asked)
    assert answer.status_code == 206
    assert answer.data == whole[start:stop]
    first = start % len(whole) if start else 0
    assert answer.headers["Content-Range"] == (
        f"bytes {first}-{first + len(answer.data) - 1}/{len(whole)}"
    )
    assert answer.headers["Content-Length"] == str(len(answer.data))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(first=st.integers(0, 800), last=st.integers(0, 800))
def test_any_range_is_that_slice(site: Site, first: int, last: int) -> None:
    if not (site.store / "streams").exists():
        example(site.store, count=9)
    whole = site.get(URL).data
    answer = site.get(URL, Range=f"bytes={first}-{last}")
    if first > last:  # not a range at all: ignored
        assert (answer.status_code, answer.data) == (200, whole)
    elif first >= len(whole):
        assert answer.status_code == 416
    else:
        assert (answer.status_code, answer.data) == (206, whole[first : last + 1])


@pytest.mark.parametrize("asked", ["bytes=7624-", "bytes=99999-100000", "bytes=-0"])
def test_range_outside_is_416_with_the_length(site: Site, asked: str) -> None:
    length = len(example(site.store).single())
    answer = site.get(URL, Range=asked)
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{length}"
    assert answer.mimetype == "text/plain"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes=5-4", "nonsense"]
)
def test_what_is_no_single_range_gets_the_whole(site: Site, asked: str) -> None:
    whole = example(site.store).single()
    answer = site.get(URL, Range=asked)
    assert (answer.status_code, answer.data) == (200, whole)


def test_etag_holds_until_the_stream_grows(site: Site) -> None:
    built = StreamBuilder(site.store).add(packets(5)).write()
    etag = site.get(URL).headers["ETag"]
    assert site.get(URL, If_None_Match=etag).status_code == 304
    assert site.get(URL, If_None_Match=etag).data == b""
    assert site.get(URL, Range="bytes=3-4", If_Range=etag).status_code == 206
    built.add(packets(1)).write()
    grown = site.get(URL, Range="bytes=3-4", If_Range=etag)
    assert (grown.status_code, grown.data) == (200, built.single())
    assert site.get(URL, If_None_Match=etag).status_code == 200


def test_a_running_download_can_be_resumed_where_it_ended(site: Site) -> None:
    built = StreamBuilder(site.store).add(packets(5)).write()
    begun = site.get(URL).data
    built.add(packets(5)).write()
    rest = site.get(URL, Range=f"bytes={len(begun)}-")
    assert begun + rest.data == built.single()


def test_empty_capture_is_24_bytes(site: Site) -> None:
    StreamBuilder(site.store).complete().write()
    assert len(site.get(URL).data) == 24


@pytest.mark.parametrize(
    "stream",
    [
        *("..", ".", "a/b", "../../etc/passwd", "a%00b", "%252e%252e", "%2e%2e", "%C3%A4", "%FF"),
        *("none", "a%0Ab", "a%20b", "%3Cscript%3E", "x" * 10_000),
    ],
)
def test_streams_that_are_not_there(site: Site, stream: str) -> None:
    example(site.store)
    answer = site.get(f"/pcap/single?StreamName={stream}")
    assert (answer.status_code, answer.mimetype) == (404, "text/plain")
    assert answer.text.startswith("There is no stream '")
    assert len(answer.text) < 300
    assert str(site.store) not in answer.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "StreamName is missing"),
        ("StreamName=", "StreamName is missing"),
        ("StreamName=x&Colour=red", "'Colour' is not known"),
        ("StreamName=x&Start=1", "'Start' is not known"),
        ("StreamName=x?FilterRE=a", "FilterRE is not supported."),
        ("StreamName=x&FilterBPFDecap=true", "FilterBPFDecap is not supported."),
        ("StreamName=x&Filter=a", "Filter is not supported by this version."),
        ("StreamName=x&StreamName=y", "StreamName is given twice"),
    ],
)
def test_parameters_are_never_silently_ignored(site: Site, query: str, said: str) -> None:
    answer = site.get(f"/pcap/single?{query}")
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    assert said in answer.text


def test_downloads_need_no_daemon(site: Site) -> None:
    built = example(site.store)
    site.control.refusal = Unavailable("x", code="daemon-not-running")
    assert site.get(URL).data == built.single()
    assert site.control.questions == 0
