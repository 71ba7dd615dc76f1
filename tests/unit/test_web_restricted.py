"""A restricted user gets what its filter and snaplen let through, by no path anything else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from export_kit import as_records, records, stream, traffic
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from web_fakes import PASSWORD, Site, make_site, write_users

from fwdcap.errors import Forbidden
from fwdcap.store.download import open_single
from fwdcap.store.export import Export
from fwdcap.users.roles import Role
from webui.limits import bound
from webui.sending import send
from webui.users import User

pytestmark = pytest.mark.unit

STREAM = "cli_capture_20150620_1128"
SNAPLEN = 40
PATHS = {
    "single": f"/pcap/single?StreamName={STREAM}",
    "splittime": f"/pcap/splittime?StreamName={STREAM}&Start=0&Stop=9999999999999999999",
    "timerange": "/pcap/timerange?TSBegin=0&TSEnd=9999999999999999999",
    "timerange v1": "/api/v1/pcap/timerange?TSBegin=0&TSEnd=9999999999999999999",
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = make_site(tmp_path)
    write_users(
        tmp_path,
        tcp={"role": "restricted", "filter": "tcp", "snaplen": SNAPLEN},
        short={"role": "restricted", "snaplen": SNAPLEN},
        none={"role": "restricted"},
    )
    stream(tmp_path, traffic(16))
    return made


def is_tcp(frame: bytes) -> bool:
    packet = Ether(frame)
    return packet.type == 0x0800 and TCP in packet


EXPECTED = [each for each in as_records(traffic(16)) if is_tcp(each.frame)]


@pytest.mark.parametrize("path", PATHS)
def test_every_download_goes_through_filter_and_snaplen(site: Site, path: str) -> None:
    answer = site.get(PATHS[path], user="tcp")
    assert answer.status_code == 200, answer.text
    got = records(answer.data)
    assert [each.ns for each in got] == [each.ns for each in EXPECTED]
    assert [each.frame for each in got] == [each.frame[:SNAPLEN] for each in EXPECTED]
    assert any(len(each.frame) > SNAPLEN for each in EXPECTED)
    assert len(records(site.get(PATHS[path]).data)) == 16


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "header", [{"Range": "bytes=0-"}, {"Range": "bytes=24-99"}, {"If_None_Match": "*"}]
)
def test_ranges_do_not_get_around_it(site: Site, path: str, header: dict[str, str]) -> None:
    answer = site.get(PATHS[path], user="tcp", **header)
    assert (answer.status_code, answer.headers["Accept-Ranges"]) == (200, "none")
    assert len(records(answer.data)) == len(EXPECTED)
    head = site.get(PATHS[path], user="tcp", method="HEAD")
    assert (head.status_code, head.headers.get("Content-Length", "0")) == (200, "0")


@pytest.mark.parametrize(
    "query",
    [
        "FilterBPF=udp",
        "FilterBPF=udp%20or%20tcp%20or%20ip",
        "FilterBPF=)%20or%20(ip",
        "Snaplen=0",
        "Snaplen=65535",
        "Snaplen=20",
        "Format=pcapng",
        "Compression=fast",
        "FilterTCP=false",
        "&".join(f"FilterBPF=ip%20proto%20{n}%20or%20ip" for n in range(16)),
    ],
)
def test_what_is_asked_for_narrows_it_and_never_widens_it(site: Site, query: str) -> None:
    answer = site.get(f"{PATHS['single']}&{query}", user="tcp")
    if answer.status_code != 200:
        assert answer.status_code == 400
        return
    if "Format" in query or "Compression" in query:
        assert len(answer.data) < len(site.get(f"{PATHS['single']}&{query}").data)
        return
    longest = 20 if query == "Snaplen=20" else SNAPLEN
    got = records(answer.data)
    assert {each.ns for each in got} <= {each.ns for each in EXPECTED}
    assert all(len(each.frame) <= longest for each in got)
    assert bool(got) is (query != "FilterBPF=udp")


def test_a_snaplen_alone_cuts_everything(site: Site) -> None:
    got = records(site.get(PATHS["single"], user="short").data)
    assert [each.frame for each in got] == [e.frame[:SNAPLEN] for e in as_records(traffic(16))]


@pytest.mark.parametrize("path", PATHS)
def test_without_a_restriction_nothing_is_handed_out(site: Site, path: str) -> None:
    answer = site.get(PATHS[path], user="none")
    assert (answer.status_code, "none is set" in answer.text) == (403, True)


def test_a_token_is_bound_as_its_owner(site: Site) -> None:
    token = site.control.people.token_add({"name": "t", "user": "tcp"})["token"]
    client = site.app.test_client()
    answer = client.get(PATHS["single"], headers={"Authorization": f"Bearer {token}"})
    assert [each.ns for each in records(answer.data)] == [each.ns for each in EXPECTED]


def test_lists_stay_visible_and_every_download_link_is_bound(site: Site) -> None:
    browser = site.browser(user="tcp")
    assert site.get("/plain/list", user="tcp").data == site.get("/plain/list").data
    page = browser.get(f"/files?StreamName={STREAM}").text
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/pcap/[^"]+)"', page)]
    assert links
    rows = site.get(f"/plain/split?StreamName={STREAM}&StreamView=split_1sec", user="tcp").text
    links += [row.rsplit(",", 1)[1] for row in rows.splitlines()[1:]]
    for link in links:
        answer = browser.get(link)
        answer.close()
        assert (answer.status_code, answer.headers["Accept-Ranges"]) == (200, "none"), link


def test_bytes_as_they_are_are_refused_whoever_forgot_to_ask(site: Site) -> None:
    user = User("tcp", Role.RESTRICTED, "", filter="tcp")
    with site.app.test_request_context("/"):
        from flask import g

        with pytest.raises(Forbidden):
            send(open_single(site.store, STREAM), "x.pcap")  # nobody
        g.user = user
        with pytest.raises(Forbidden):
            send(open_single(site.store, STREAM), "x.pcap")


@pytest.mark.parametrize(
    ("asked", "limit", "given"), [(0, 0, 0), (0, 60, 60), (40, 60, 40), (90, 60, 60), (90, 0, 90)]
)
def test_the_smaller_snaplen(asked: int, limit: int, given: int) -> None:
    user = User("x", Role.RESTRICTED, "", filter="tcp", snaplen=limit)
    export = bound(Export(snaplen=asked, filters=("udp",)), user)
    assert (export.snaplen, export.filters) == (given, ("udp", "tcp"))
    assert bound(export, user) == export
    assert bound(Export(), User("x", Role.DOWNLOADER, "", filter="tcp")) == Export()


def test_the_right_password_is_needed_all_the_same(site: Site) -> None:
    client = site.app.test_client()
    assert client.get(PATHS["single"], auth=("tcp", f"{PASSWORD}x")).status_code == 401
