"""The pages say what is the matter, in words, with and without a daemon."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from store_builder import ROUTE, SECOND_NS, STARTED_NS, StreamBuilder, example, packets
from store_recording import Record, Recording
from web_fakes import NOW_NS, PASSWORD, Site, idle_status, make_site, post, way

from fwdcap import abi
from fwdcap.errors import Unavailable
from fwdcap.store import stream_json
from fwdcap.store.times import zone_of
from webui import overview, words
from webui.daemon import RECENT_S, without_paths

pytestmark = pytest.mark.unit

AWAY = Unavailable("Nothing answers on /run/fwdcap/control.sock.", code="daemon-not-running")
UTC = zone_of("UTC")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def test_root_leads_to_the_capture_page(site: Site) -> None:
    answer = site.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/capture")


def test_the_capture_page_of_an_idle_appliance(site: Site) -> None:
    page = site.get("/capture").text
    for said in ("Forwarding", "Not recording", "Nothing lost", "1 route on cap0, native XDP"):
        assert said in page
    for said in ("orders-db", "10.0.1.20", "10.0.1.166", "10.0.2.41", "inline", "300,000"):
        assert said in page
    assert "The driver of cap0 (ena) runs XDP programs itself." in page
    assert "no route matches, left to the machine itself" in page
    assert "<b>REC</b>" not in page


def test_rec_and_stop_by_forms(site: Site) -> None:
    browser = site.browser()
    answer = post(browser, "/capture/start", name=" incident ")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/capture")
    page = browser.get("/capture").text
    assert "Successfully started capture [incident]." in page
    assert "STOP" in page
    for url in ("/capture", "/files", "/nothing"):
        assert "<b>REC</b>" in browser.get(url).text
    post(browser, "/capture/stop")
    page = browser.get("/capture").text
    assert "Successfully stopped capture [incident]." in page
    assert "Last capture: incident, 0:01:00 long" in page
    assert "<b>REC</b>" not in browser.get("/files").text
    assert site.control.asked == [("start", "incident", None), ("stop",)]


@pytest.mark.parametrize("name", ["", "..", "a b", "<b>x</b>", "x" * 200])
def test_a_bad_name_is_refused_at_the_field(site: Site, name: str) -> None:
    answer = post(site.browser(), "/capture/start", name=name)
    assert answer.status_code == 400
    assert 'aria-invalid="true"' in answer.text
    assert 'role="alert"' in answer.text
    assert "<b>x</b>" not in answer.text
    assert site.control.asked == []


def test_a_refusal_of_the_daemon_is_shown_with_its_hint(site: Site) -> None:
    browser = site.browser()
    post(browser, "/capture/start", name="first")
    answer = post(browser, "/capture/start", name="second")
    assert answer.status_code == 409
    assert "A capture is already running: [first]." in answer.text
    assert "Stop it first." in answer.text


@pytest.mark.parametrize(
    ("datapath", "headline", "state"),
    [
        ({}, "Forwarding", "good"),
        ({"state": "waiting", "why": "cap0 is not there yet."}, "Not forwarding", "bad"),
        ({"state": "detached", "why": "Detached."}, "Not forwarding", "bad"),
        ({"state": "none", "why": "", "interface": None, "mode": None}, "Not forwarding", "bad"),
        ({"link": "down"}, "Not forwarding", "bad"),
    ],
)
def test_is_it_forwarding(datapath: dict[str, object], headline: str, state: str) -> None:
    now = idle_status()
    now["datapath"] |= datapath
    seen = overview.of_status(now, UTC)
    assert (seen.values["forwarding.headline"], seen.states["forwarding"]) == (headline, state)
    assert seen.values["forwarding.detail"]


def test_no_enabled_route_is_not_forwarding(site: Site) -> None:
    now = idle_status()
    now["routes"] = [{**now["routes"][0], "enabled": False}]
    assert overview.of_status(now, UTC).values["forwarding.headline"] == "Ready, nothing to forward"


@pytest.mark.parametrize("recorder", ["restarting", "failed"])
def test_a_recorder_in_trouble_is_not_called_recording(site: Site, recorder: str) -> None:
    site.control.capture_start("x")
    site.control.now["capture"] |= {"recorder": recorder, "message": "No space is left."}
    page = site.get("/capture").text
    assert "Recording interrupted" in page
    assert "No space is left." in page


def test_a_capture_that_ended_by_an_error_says_so(site: Site) -> None:
    site.control.now["capture"] |= {"recorder": "failed", "message": "The disk is full."}
    seen = overview.of_status(site.control.now, UTC)
    assert seen.values["recording.headline"] == "Not recording"
    assert seen.values["recording.detail"] == "The disk is full."
    assert seen.states["recording"] == "bad"


@pytest.mark.parametrize("change", [{"modes": []}, {"enabled": False}])
def test_a_capture_that_no_route_feeds_is_not_called_recording(
    site: Site, change: dict[str, object]
) -> None:
    site.control.capture_start("x")
    site.control.now["routes"][0] |= change
    seen = overview.of_status(site.control.now, UTC)
    assert seen.values["recording.headline"] == "Recording nothing"
    assert seen.states["recording"] == "warn"


def test_losses_are_counted_with_their_reason(site: Site) -> None:
    site.control.capture_start("x")
    site.control.count(1000, lost=1204)
    page = site.get("/capture").text
    assert "1,204 lost" in page
    assert "In this capture: ring full 1,204." in page


def test_routes_with_several_modes_drops_and_an_egress_address(site: Site) -> None:
    several = {
        **ROUTE,
        "id": 2,
        "name": "ledger",
        "egress": "10.0.1.167",
        "modes": ["ingress", "egress"],
        "to_server": way(10, dropped=17, lost=3),
        "to_client": way(0),
    }
    none = {**several, "id": 3, "name": "plain", "modes": [], "enabled": False}
    site.control.now["routes"] += [several, none]
    page = site.get("/capture").text
    for said in ("10.0.1.167", "ingress\N{NO-BREAK SPACE}0", "forward only", "disabled"):
        assert said in page
    assert re.search(r'data-live="route.2.to_server.dropped"[^>]*data-state="warn">17<', page)
    assert re.search(r'data-live="route.2.to_server.lost"[^>]*data-state="bad">3<', page)


def test_warnings_stand_there_with_what_to_do(site: Site) -> None:
    site.control.now["warnings"] = [
        {"code": "x", "message": "<cap0> is slow.", "hint": "Do `this`."}
    ]
    page = site.get("/capture").text
    assert "&lt;cap0&gt; is slow." in page
    assert "Do <code>this</code>." in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain & <b>", "plain &amp; &lt;b&gt;"),
        ("`a < b` and `c`", "<code>a &lt; b</code> and <code>c</code>"),
        ("`<script>`", "<code>&lt;script&gt;</code>"),
        ("one ` alone <", "one ` alone &lt;"),
        ("`a` and ` <i>", "`a` and ` &lt;i&gt;"),
        ("", ""),
    ],
)
def test_commands_in_sentences_are_set_as_code(text: str, shown: str) -> None:
    assert str(words.code(text)) == shown


def test_records_are_called_records(site: Site) -> None:
    stream = example(site.store).stream
    site.control.capture_start("x")
    assert "Records per second" in site.get("/capture").text
    for url in ("/files", f"/files?StreamName={stream}"):
        page = site.get(url).text
        assert ">Records<" in page
        assert ">Packets<" not in page


def test_a_refused_login_says_what_to_do_about_a_lost_password(site: Site) -> None:
    page = post(site.browser(login=False), "/login", name="fwdcap", password="wrong").text
    assert "fwdcap user set fwdcap --new-password" in page
    assert str(site.store) not in page


def test_without_a_daemon_pages_say_so_and_files_can_be_had(site: Site) -> None:
    built = example(site.store)
    StreamBuilder(site.store, "cut_1").add(packets(3)).write()
    site.control.refusal = AWAY
    page = site.get("/capture").text
    assert "The daemon fwdcapd does not answer." in page
    assert "Not known" in page
    assert "/run" not in page
    files = site.get("/files").text
    assert "The daemon fwdcapd does not answer." in files
    assert f"/pcap/single?StreamName={built.stream}" in files
    assert "unfinished" in files


def test_files_newest_first_with_state_and_numbers(site: Site) -> None:
    StreamBuilder(site.store, "old_1", lost=12).add(packets(2000)).complete().write()
    later = StreamBuilder(site.store, "new_1", started_ns=STARTED_NS + 30 * SECOND_NS)
    later.add(packets(3)).write()
    damaged = StreamBuilder(site.store, "damaged_1").add(packets(1)).complete().write()
    (damaged.directory / "stream.json").unlink()
    site.control.now["capture"] |= {
        "active": True,
        "name": "new",
        "stream": "new_1",
        "started_ns": STARTED_NS + 30 * SECOND_NS,
    }
    page = site.get("/files").text
    assert page.index("new_1") < page.index("old_1")
    for said in (
        "recording",
        "complete",
        "2,000",
        "152 kB",
        "12",
        "0:00:30",
        "2015-06-20 11:28:56",
    ):
        assert said in page
    assert "Its stream.json is missing or damaged" in page


def test_a_stream_nobody_records_any_more_is_interrupted(site: Site) -> None:
    StreamBuilder(site.store).add(packets(3)).write()
    assert "interrupted" in site.get("/files").text


def test_an_empty_store_leads_on(site: Site) -> None:
    assert "There is no stream yet." in site.get("/files").text


def test_the_manuals_address_picks_its_stream(site: Site) -> None:
    built = example(site.store)
    page = site.get(f"/en.files.html?Fn=view&StreamName={built.stream}&").text
    assert f"<title>{built.stream} · fwdcap</title>" in page
    for said in ("orders-db (inline)", "2015-06-20 11:28:56.000000000", "100 packets"):
        assert said in page
    assert f"/pcap/single?StreamName={built.stream}&amp;Format=pcapng" in page
    missing = site.get("/en.files.html?Fn=view&StreamName=%3Cgone%3E&").text
    assert "There is no stream &#39;&lt;gone&gt;&#39;." in missing


def test_a_streams_page_lists_its_splits_and_what_they_send(site: Site) -> None:
    built = StreamBuilder(site.store, "x_1").add(packets(9000, size=600)).complete().write()
    page = site.get("/files?StreamName=x_1&StreamView=split_1MB").text
    assert 'aria-current="true">1 MB</a>' in page
    links = re.findall(r'href="(/pcap/splittime\?[^"]+)"', page)
    whole = [html.unescape(link) for link in links if "Format" not in link]
    sent = [site.get(link).data for link in whole]
    assert len(sent) > 3
    assert built.single()[:24] + b"".join(part[24:] for part in sent) == built.single()
    assert [html.unescape(link) for link in links if "Format=pcapng" in link]
    assert 'width="100"' in page


def test_a_streams_page_shows_many_splits_a_page_at_a_time(site: Site) -> None:
    records = [Record(STARTED_NS + n * SECOND_NS, bytes(60)) for n in range(450)]
    Recording(site.store, records, "x_1").write(complete=True)
    first = site.get("/files?StreamName=x_1&StreamView=split_1sec").text
    assert "450 splits, page 1 of 3" in first
    starts = []
    for number in (1, 2, 3):
        page = site.get(f"/files?StreamName=x_1&StreamView=split_1sec&Page={number}").text
        starts += re.findall(r"Start=(\d+)ULL&amp;Stop=\d+ULL\"", page)[::2]
    assert [int(start) for start in starts] == [record.ns for record in records]
    assert "page 3 of 3" in site.get("/files?StreamName=x_1&StreamView=split_1sec&Page=99").text
    assert "page 1 of 3" in site.get("/files?StreamName=x_1&StreamView=split_1sec&Page=0").text
    assert 'aria-current="true">10 s</a>' in site.get("/files?StreamName=x_1").text


@pytest.mark.parametrize("query", ["StreamView=x", "Page=x", "Page=-1", "Page=" + "9" * 30])
def test_odd_addresses_of_a_streams_page_are_refused(site: Site, query: str) -> None:
    built = example(site.store)
    assert site.get(f"/files?StreamName={built.stream}&{query}").status_code == 400


@pytest.mark.parametrize("stream", ["..", "a/b", "a%00", "%FF", "x" * 10_000])
def test_pages_of_streams_that_are_not_there(site: Site, stream: str) -> None:
    example(site.store)
    answer = site.get(f"/files?StreamName={stream}")
    assert (answer.status_code, "There is no stream" in answer.text) == (200, True)


def test_an_empty_streams_page_says_so(site: Site) -> None:
    StreamBuilder(site.store, "x_1").complete().write()
    assert "This stream holds no packet." in site.get("/files?StreamName=x_1").text


def test_streams_are_found_by_name_and_route(site: Site) -> None:
    for name in ("backup_1", "incident_1"):
        StreamBuilder(site.store, name).complete().write()
    found = site.get("/files?q=BACK").text
    assert ("backup_1" in found, "incident_1" in found) == (True, False)
    assert "1 of 2 streams match “BACK”." in found
    assert "2 of 2 streams match" in site.get("/files?q=orders").text
    assert "No stream matches “&lt;zzz&gt;”." in site.get("/files?q=%3Czzz%3E").text


def test_a_long_list_is_shown_a_page_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.browse.PER_PAGE", 2)
    for number in range(5):
        built = StreamBuilder(site.store, f"s_{number}", started_ns=STARTED_NS - number)
        built.complete().write()
    pages = [site.get(f"/files?Page={number}&q=s_").text for number in (1, 2, 3, 4)]
    shown = [re.findall(r"StreamName=(s_\d)\"", page)[::2] for page in pages]
    assert shown == [["s_0", "s_1"], ["s_2", "s_3"], ["s_4"], ["s_4"]]


def test_a_running_stream_offers_no_deletion_and_a_refusal_is_shown(site: Site) -> None:
    site.control.capture_start("x")
    built = StreamBuilder(site.store, "x_20150620_1128").add(packets(3)).write()
    browser = site.browser()
    page = browser.get(f"/files?StreamName={built.stream}").text
    assert "Delete this stream" not in page
    refused = post(browser, "/files/delete", stream=built.stream)
    assert (refused.status_code, "is being recorded" in refused.text) == (409, True)
    assert post(browser, "/files/delete", stream="none").status_code == 404
    assert post(browser, "/files/delete", stream="../x").status_code == 404


@pytest.mark.parametrize(
    ("asked", "leads_to"),
    [
        ("/files", "/files"),
        ("/en.files.html?Fn=view&StreamName=x&", "/en.files.html?Fn=view&StreamName=x&"),
        ("//evil.example/files", "/capture"),
        ("https://evil.example/files", "/capture"),
        ("/\\evil.example/files", "/capture"),
        ("/static/x", "/capture"),
    ],
)
def test_login_leads_to_our_own_pages_only(site: Site, asked: str, leads_to: str) -> None:
    client = site.app.test_client()
    answer = post(client, "/login", name="fwdcap", password=PASSWORD, next=asked)
    assert answer.headers["Location"] == leads_to


def test_a_link_to_a_stream_survives_the_login(site: Site) -> None:
    anyone = site.app.test_client()
    url = "/en.files.html?Fn=view&StreamName=x"
    answer = anyone.get(url, headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert url in html.unescape(anyone.get(answer.headers["Location"]).text)


def test_spans() -> None:
    said = [words.span(ns) for ns in (0, 999, 1500, 250_000_000, SECOND_NS, 60 * SECOND_NS)]
    assert said == ["0 ns", "999 ns", "1.50 µs", "250 ms", "1.00 s", "0:01:00"]


def test_live_json_carries_what_the_pages_show(site: Site) -> None:
    browser = site.browser()
    before = browser.get("/live.json").get_json()
    post(browser, "/capture/start", name="x")
    StreamBuilder(site.store, "x_20150620_1128").add(packets(7)).write()
    site.control.count(1000)
    site.now[0] += 1
    live = browser.get("/live.json").get_json()
    assert live["layout"] != before["layout"]
    assert live["values"]["capture.recorded"] == "1,000"
    assert live["values"]["mark.elapsed"] == "0:01:00"
    assert live["values"]["stream.x_20150620_1128.packets"] == "7"
    for url in ("/capture", "/files"):
        page = browser.get(url).text
        assert f'data-layout="{live["layout"]}"' in page
        keys = set(re.findall(r'data-live="([^"]+)"', page))
        assert keys
        assert keys <= set(live["values"])
        assert set(re.findall(r'data-state-of="([^"]+)"', page)) <= set(live["states"])


def test_numbers_alone_do_not_change_the_layout(site: Site) -> None:
    site.control.capture_start("x")
    site.control.count(1)
    first = overview.of_status(site.control.now, UTC)
    site.control.count(2_000_000, lost=5)
    site.control.now["time_ns"] += SECOND_NS
    second = overview.of_status(site.control.now, UTC)
    assert first.layout == second.layout
    assert first.values != second.values


def test_many_open_pages_share_one_question(site: Site) -> None:
    for _ in range(5):
        site.get("/live.json")
    assert site.control.questions == 1
    site.now[0] += RECENT_S
    site.get("/live.json")
    assert site.control.questions == 2


def test_healthz_is_for_anyone_and_without_details(site: Site) -> None:
    anyone = site.app.test_client()
    answer = anyone.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "forwarding\n")
    site.control.now["datapath"]["state"] = "waiting"
    site.now[0] += 1
    assert (anyone.get("/healthz").status_code, anyone.head("/healthz").status_code) == (503, 503)
    site.control.refusal = AWAY
    site.now[0] += 1
    answer = anyone.get("/healthz")
    assert (answer.status_code, answer.text) == (503, "not forwarding\n")


def test_errors_are_pages_with_a_way_back(site: Site) -> None:
    answer = site.get("/nothing")
    assert answer.status_code == 404
    assert "There is nothing at this address." in answer.text
    assert "Back to the Capture page" in answer.text


def test_no_page_needs_anything_from_outside_or_inline(site: Site) -> None:
    stream = example(site.store).stream
    for url in ("/capture", "/files", f"/files?StreamName={stream}", "/login", "/nothing"):
        page = site.get(url).text
        assert "http://" not in page
        assert "https://" not in page
        assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", page)
        for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
            assert site.get(address).status_code == 200


def test_every_reason_and_loss_has_words() -> None:
    for reason in abi.Reason:
        word = reason.name.lower().replace("_", "-")
        if reason is not abi.Reason.FORWARDED:
            assert words.reason(word) != word.replace("-", " ")
    for loss in abi.Loss:
        word = loss.name.lower().replace("_", "-")
        assert words.losses({word: 1}).endswith(" 1")
    assert words.reason("drop-new-thing") == "drop new thing"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (9994, "9.99 kB"),
        (9996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (1_234_567_890, "1.23 GB"),
        (10**18, "1000 PB"),
    ],
)
def test_sizes(value: int, said: str) -> None:
    assert words.size(value) == said


def test_durations_and_rates() -> None:
    assert words.duration(NOW_NS - STARTED_NS) == "0:01:00"
    assert words.duration((2 * 86400 + 3661) * SECOND_NS) == "2 d 1:01:01"
    assert words.duration(-1) == "0:00:00"
    assert words.bit_rate(7_726_900_224) == "7.73 Gbit/s"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Writing /var/lib/fwdcap/streams/x failed.", "Writing (a path on the appliance) failed."),
        ("10.0.0.0/24 and/or http://host/x", "10.0.0.0/24 and/or http://host/x"),
        ("/etc/fwdcap.toml: bad.", "(a path on the appliance): bad."),
    ],
)
def test_paths_are_left_out(text: str, shown: str) -> None:
    assert without_paths(text) == shown


def lost(records: int, ring: int | None = 1) -> dict[str, object]:
    at_ns = STARTED_NS + 5 * SECOND_NS
    times = {"first_ns": at_ns, "last_ns": at_ns + SECOND_NS}
    return {"ring": ring, "reason": "ring-full", "records": records, **times}


def test_the_capture_page_lists_the_latest_losses_with_their_ring(site: Site) -> None:
    site.control.now["capture"] |= {"name": "x", "stream": "x_1", "started_ns": STARTED_NS}
    site.control.now["capture"]["losses"] = [lost(1000 + n) for n in range(11)]
    page = site.get("/capture").text
    assert '<td class="n" data-label="Ring">1</td>' in page
    assert '<td class="t" data-label="From">2015-06-20 11:29:01</td>' in page
    assert "1,010</span>" in page
    assert "1,001</span>" in page
    assert "1,000</span>" not in page
    assert "Earlier losses are on" in page


def test_a_stream_s_page_lists_all_of_its_losses(site: Site) -> None:
    built = example(site.store)
    url = f"/files?StreamName={built.stream}"
    assert "Losses" not in site.get(url).text
    losses = (*(lost(1000 + n) for n in range(20)), {"ring": "x", "reason": "disk"})
    words = replace(built.words(), losses=losses)
    stream_json.write(built.directory / stream_json.FILE, words)
    page = site.get(url).text
    assert page.count('data-label="Ring"') == 20
    assert "1,000</span>" in page
    assert "2015-06-20 11:29:02</span>" in page
