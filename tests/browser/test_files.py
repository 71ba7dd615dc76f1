"""A person at the Files page: find a stream, look at its splits, download, delete."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from store_builder import SECOND_NS, STARTED_NS, StreamBuilder, packets
from store_recording import Record, Recording
from test_pages import LONG, log_in
from web_fakes import Site

from fwdcap.store import stream_json

pytestmark = pytest.mark.browser

STREAM = "incident_20150620_1128"


def recorded(site: Site, seconds: int = 450) -> Recording:
    """One packet a second, more in some."""
    found = [
        Record(STARTED_NS + n * SECOND_NS + part * 1000, bytes(60 + n % 9))
        for n in range(seconds)
        for part in range(1 + 5 * (n % 50 == 7))
    ]
    return Recording(site.store, found, STREAM).write(complete=True)


def test_from_the_list_to_a_split_and_back(page: Page, site: Site) -> None:
    built = recorded(site)
    log_in(page)
    page.get_by_role("link", name="Files").click()
    page.get_by_role("link", name=STREAM, exact=True).click()
    expect(page.get_by_role("heading", name=STREAM)).to_be_visible()
    page.get_by_role("link", name="1 s", exact=True).click()
    expect(page.get_by_text("450 splits, page 1 of 3")).to_be_visible()
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("450 splits, page 2 of 3")).to_be_visible()
    page.get_by_role("textbox", name="Page").fill("3")
    page.get_by_role("textbox", name="Page").press("Enter")
    expect(page.get_by_text("450 splits, page 3 of 3")).to_be_visible()
    page.get_by_role("link", name="10 min", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role(
            "link", name="Download 20150620_11:28:56.000.000.000 as pcap"
        ).first.click()
    arrived = Path(download.value.path()).read_bytes()
    whole = built.segments()[0]
    assert hashlib.sha256(arrived).digest() == hashlib.sha256(whole).digest()
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download {STREAM}.pcapng").click()
    assert download.value.suggested_filename == f"{STREAM}.pcapng"
    assert Path(download.value.path()).read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    page.get_by_label("You are here").get_by_role("link", name="Files").click()
    expect(page.get_by_role("heading", name="Files", level=1)).to_be_visible()


def test_the_manuals_address_lands_on_the_stream_also_through_the_login(
    page: Page, site: Site
) -> None:
    recorded(site)
    page.goto(f"/en.files.html?Fn=view&StreamName={STREAM}&")
    page.get_by_label("User name").fill("fwdcap")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name=STREAM)).to_be_visible()
    expect(page.locator("svg.activity")).to_have_count(45)


def test_the_list_narrows_while_somebody_types(page: Page, site: Site) -> None:
    for name in ("backup_1", "backup_2", "incident_1"):
        StreamBuilder(site.store, name).complete().write()
    log_in(page)
    page.goto("/files")
    rows = page.locator("tbody tr")
    field = page.get_by_role("searchbox", name="Find streams by name or route")
    field.fill("BACK")
    expect(rows.filter(visible=True)).to_have_count(2)
    expect(page.get_by_text("2 of 3 streams shown.")).to_be_visible()
    site.control.capture_start("new")
    StreamBuilder(site.store, "new_20150620_1128").write()
    site.now[0] += 1
    expect(rows).to_have_count(4)
    expect(rows.filter(visible=True)).to_have_count(2)
    field.fill("")
    expect(rows.filter(visible=True)).to_have_count(4)
    field.fill("incident")
    field.press("Enter")
    expect(page.get_by_text("1 of 4 streams match")).to_be_visible()


def test_deletion_asks_first(page: Page, site: Site) -> None:
    recorded(site, 3)
    log_in(page)
    page.goto(f"/files?StreamName={STREAM}")
    sure = page.get_by_role("button", name="Delete this stream")
    expect(sure).to_be_hidden()
    page.get_by_text("Delete…").click()
    expect(page.get_by_text("packets of this stream will be gone for good")).to_be_visible()
    sure.click()
    expect(page.get_by_text(f"Deleted stream [{STREAM}].")).to_be_visible()
    expect(page.get_by_text("There is no stream yet.")).to_be_visible()
    assert site.control.asked == [("delete", STREAM)]


def test_without_a_script_streams_are_found_and_deleted(
    new_context: Callable[..., BrowserContext], address: str, site: Site
) -> None:
    recorded(site, 3)
    StreamBuilder(site.store, "backup_1").complete().write()
    page = new_context(java_script_enabled=False, base_url=address).new_page()
    log_in(page)
    page.goto("/files")
    page.get_by_role("searchbox").fill("incident")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name=STREAM, exact=True).click()
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete this stream").click()
    expect(page.get_by_text(f"Deleted stream [{STREAM}].")).to_be_visible()


@pytest.mark.parametrize("width", [400, 900, 1400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_stream_page_scrolls_sideways_and_bars_are_seen(
    new_context: Callable[..., BrowserContext], address: str, site: Site, width: int, theme: str
) -> None:
    recorded(site)
    built = StreamBuilder(site.store, LONG).add(packets(9000, size=600)).complete().write()
    loss = {"ring": 15, "reason": "ring-full", "records": 453_468_480_000}
    words = replace(built.words(), losses=({**loss, "first_ns": 10**18, "last_ns": 2 * 10**18},))
    stream_json.write(built.directory / stream_json.FILE, words)
    size = {"width": width, "height": 900}
    page = new_context(base_url=address, color_scheme=theme, viewport=size).new_page()
    log_in(page)
    for stream in (STREAM, LONG):
        page.goto(f"/files?StreamName={stream}&StreamView=split_1MB")
        beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(beyond) <= 0, stream
        box = page.locator("svg.activity").first.bounding_box()
        assert box is not None
        assert box["width"] > 100
        bar = "getComputedStyle(document.querySelector('svg.activity rect:not(.ground)')).fill"
        ground = "getComputedStyle(document.querySelector('svg.activity .ground')).fill"
        assert page.evaluate(bar) != page.evaluate(ground)
