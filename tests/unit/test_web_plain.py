"""/plain/list to the byte, and how existing clients ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_builder import SECOND_NS, STARTED_NS, StreamBuilder, packets
from web_fakes import Site, make_site

from fwdcap.errors import Unavailable

pytestmark = pytest.mark.unit

HEADING = "Filename , Size Bytes , Packet Count , Date ,Single PCAP Link,File Link,TSStart,TSEnd,\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, "Asia/Tokyo")


def test_empty_store_is_the_heading(site: Site) -> None:
    answer = site.get("/plain/list")
    assert (answer.text, answer.mimetype) == (HEADING, "text/plain")


def test_row_is_the_contracts(site: Site) -> None:
    stream = "cli_capture_20150620_2028"
    StreamBuilder(site.store, stream).add(packets(3)).complete().write()
    assert site.get("/plain/list").text == HEADING + (
        f"{stream} , {24 + 3 * 76}, 3, Sat Jun 20 20:28:56 2015,"
        f"/pcap/single?StreamName={stream}&,/en.files.html?Fn=view&StreamName={stream}&,"
        "1434799736000000000,1434799736002000000,\n"
    )


def test_size_is_what_the_link_beside_it_sends(site: Site) -> None:
    StreamBuilder(site.store).add(packets(50)).write(tail=bytes(999))
    row = site.get("/plain/list").text.splitlines()[1].split(",")
    assert len(site.get(row[4]).data) == int(row[1])
    assert site.get(row[5]).status_code == 200


def test_empty_stream_has_the_start_for_both_times(site: Site) -> None:
    StreamBuilder(site.store).complete().write()
    row = site.get("/plain/list").text.splitlines()[1]
    assert row.split(" , ")[1].startswith("24, 0, ")
    assert row.endswith(f"&,{STARTED_NS},{STARTED_NS},")


def test_newest_first_and_the_running_one_included(site: Site) -> None:
    StreamBuilder(site.store, "old_1").add(packets(1)).complete().write()
    newer = StreamBuilder(site.store, "new_1", started_ns=STARTED_NS + SECOND_NS)
    newer.add(packets(2)).write(tail=bytes(4096))
    rows = site.get("/plain/list").text.splitlines()[1:]
    assert [row.split(" ")[0] for row in rows] == ["new_1", "old_1"]
    assert rows[0].startswith(f"new_1 , {24 + 2 * 76}, 2,")


@pytest.mark.parametrize("path", ["//plain/list", "/plain//list", "///plain///list"])
def test_doubled_slashes_answer_200_without_a_redirect(site: Site, path: str) -> None:
    answer = site.app.test_client().open(
        "/", environ_overrides={"PATH_INFO": path}, auth=("fwdcap", "correct horse")
    )
    assert (answer.status_code, answer.text) == (200, HEADING)


@pytest.mark.parametrize("query", ["", "?", "?&", "?&&", "?rand=0.123", "?_=1&rand=2&"])
def test_noise_in_the_query_is_ignored(site: Site, query: str) -> None:
    assert site.get(f"/plain/list{query}").status_code == 200


def test_refusals_are_plain_sentences(site: Site) -> None:
    answer = site.get("/plain/list?Colour=red")
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    assert answer.text == "The parameter 'Colour' is not known here. There are none.\n"
    assert site.get("/plain/nothing").status_code == 404
    assert site.get("/plain/nothing").mimetype == "text/plain"
    assert site.get("/plain/list", method="POST").status_code == 405


def test_head_and_no_daemon(site: Site) -> None:
    site.control.refusal = Unavailable("x", code="daemon-not-running")
    StreamBuilder(site.store).complete().write()
    assert site.get("/plain/list").status_code == 200
    head = site.get("/plain/list", method="HEAD")
    assert (head.status_code, head.data) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(site.get("/plain/list").data)


def test_an_unreadable_store_is_a_sentence_without_its_path(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("fwdcap.store.stream.os.scandir", refuse)
    answer = site.get("/plain/list")
    assert answer.status_code == 503
    assert "Permission denied" in answer.text
    assert str(site.store) not in answer.text
