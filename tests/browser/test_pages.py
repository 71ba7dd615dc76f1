"""A person at the pages: log in, record, watch, stop, download."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect
from store_builder import ROUTE, StreamBuilder, packets
from web_fakes import PASSWORD, Site, way

from fwdcap.errors import Unavailable

pytestmark = pytest.mark.browser

STREAM = "incident_20150620_1128"
LONG = "a-rather-long-name-for-a-capture-that-somebody-typed_20150619_1428"


@pytest.fixture(autouse=True)
def _no_complaints(page: Page) -> Iterator[None]:
    """A page that breaks its own content policy or throws has failed."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if "Content Security" in said.text else None,
    )
    yield
    assert complaints == []


def log_in(page: Page, password: str = PASSWORD) -> None:
    page.goto("/")
    page.get_by_label("User name").fill("fwdcap")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def shown(page: Page, key: str) -> Locator:
    return page.locator(f'[data-live="{key}"]').first


def test_record_watch_stop_download(page: Page, site: Site) -> None:
    built = StreamBuilder(site.store, STREAM, "incident").add(packets(10))
    site.control.on_start = lambda stream: built.write() and None
    log_in(page)
    expect(page.get_by_role("heading", name="Capture", exact=True, level=1)).to_be_visible()
    mark = page.get_by_role("banner").get_by_text("REC", exact=True)
    expect(mark).to_have_count(0)

    page.get_by_label("Name").fill("incident")
    page.get_by_role("button", name="REC").click()
    expect(page.get_by_text("Successfully started capture [incident].")).to_be_visible()
    expect(mark).to_be_visible()

    site.control.count(1000)
    site.now[0] += 1
    expect(shown(page, "capture.recorded")).to_have_text("1,000")
    site.control.count(2_000_000, lost=3)
    site.now[0] += 1
    expect(shown(page, "capture.recorded")).to_have_text("2,000,000")
    expect(page.get_by_text("3 lost", exact=True)).to_be_visible()

    page.get_by_role("link", name="Files").click()
    expect(mark).to_be_visible()
    row = page.get_by_role("row", name=STREAM)
    expect(row).to_contain_text("recording")
    expect(shown(page, f"stream.{STREAM}.packets")).to_have_text("10")
    built.add(packets(500, start_ns=built.started_ns + 10**9)).write()
    site.now[0] += 1
    expect(shown(page, f"stream.{STREAM}.packets")).to_have_text("510")

    page.get_by_role("link", name="Capture", exact=True).click()
    page.get_by_role("button", name="STOP").click()
    expect(page.get_by_text("Successfully stopped capture [incident].")).to_be_visible()
    expect(mark).to_have_count(0)
    expect(page.get_by_role("button", name="REC")).to_be_visible()
    built.complete().write()

    page.goto("/files")
    expect(mark).to_have_count(0)
    expect(row).to_contain_text("complete")
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download {STREAM}.pcap").click()
    assert download.value.suggested_filename == f"{STREAM}.pcap"
    arrived = Path(download.value.path()).read_bytes()
    assert hashlib.sha256(arrived).digest() == hashlib.sha256(built.single()).digest()


def test_a_capture_begun_elsewhere_appears_and_what_is_typed_stays(page: Page, site: Site) -> None:
    log_in(page)
    page.get_by_label("Name").fill("half-typed")
    site.control.now["warnings"] = [{"code": "x", "message": "Look here.", "hint": "Do that."}]
    site.now[0] += 1
    expect(page.get_by_text("Look here.")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("half-typed")
    expect(page.get_by_label("Name")).to_be_focused()
    site.control.capture_start("by-script")
    site.now[0] += 1
    expect(page.get_by_role("banner").get_by_text("REC", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="STOP")).to_be_visible()


def test_wrong_password(page: Page) -> None:
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("User name or password is wrong.")
    expect(page.get_by_label("User name")).to_have_value("fwdcap")
    expect(page.get_by_label("Password")).to_be_focused()
    page.goto("/files")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_refused_name_is_told_at_the_field(page: Page, site: Site) -> None:
    log_in(page)
    site.control.capture_start("first")
    page.get_by_label("Name").fill("second")
    page.get_by_role("button", name="REC").click()
    expect(page.get_by_role("alert")).to_contain_text("A capture is already running: [first].")


def test_a_daemon_that_goes_away_and_comes_back(page: Page, site: Site) -> None:
    log_in(page)
    site.control.refusal = Unavailable("x", code="daemon-gone")
    site.now[0] += 1
    expect(page.get_by_text("Not known").first).to_be_visible()
    expect(page.get_by_role("button", name="REC")).to_be_disabled()
    site.control.refusal = None
    site.now[0] += 1
    expect(page.get_by_text("Forwarding", exact=True).first).to_be_visible()
    expect(page.get_by_role("button", name="REC")).to_be_enabled()


def test_a_web_server_that_does_not_answer_is_said(page: Page) -> None:
    log_in(page)
    page.route("**/live.json", lambda route: route.abort())
    expect(page.get_by_text("No answer from the appliance since")).to_be_visible()
    page.unroute("**/live.json")
    expect(page.get_by_text("No answer from the appliance since")).to_be_hidden()


def test_a_session_that_ended_leads_to_the_login_page(page: Page) -> None:
    log_in(page)
    expect(page.get_by_role("button", name="REC")).to_be_visible()
    page.context.clear_cookies()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_without_a_script_everything_works_by_forms(
    new_context: Callable[..., BrowserContext], address: str
) -> None:
    page = new_context(java_script_enabled=False, base_url=address).new_page()
    log_in(page)
    page.get_by_label("Name").fill("x")
    page.get_by_role("button", name="REC").click()
    page.get_by_role("button", name="STOP").click()
    expect(page.get_by_text("Successfully stopped capture [x].")).to_be_visible()


@pytest.mark.parametrize("width", [400, 900, 1400])
@pytest.mark.parametrize("recording", [False, True])
def test_no_page_scrolls_sideways(page: Page, site: Site, width: int, recording: bool) -> None:
    StreamBuilder(site.store, LONG).add(packets(2000)).complete().write()
    modes = ["ingress", "inline", "egress"]
    busy = {**ROUTE, "id": 2, "egress": "10.0.1.167", "modes": modes}
    numbers = way(9_999_999_999, dropped=99_999, lost=99_999)
    site.control.now["routes"].append({**busy, "to_server": numbers, "to_client": numbers})
    site.control.now["warnings"] = [{"code": "x", "message": "Much to say. " * 20, "hint": LONG}]
    if recording:
        site.control.capture_start(LONG)
        site.control.count(453_468_480_000)
        loss = {"ring": 15, "reason": "ring-full", "records": 453_468_480_000}
        times = {"first_ns": 10**18, "last_ns": 2 * 10**18}
        site.control.now["capture"]["losses"] = [{**loss, **times}] * 20
    page.set_viewport_size({"width": width, "height": 900})
    log_in(page)
    expect(page.get_by_role("heading", name="Capture", exact=True, level=1)).to_be_visible()
    for url in ("/capture", "/files", "/nothing"):
        page.goto(url)
        beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(beyond) <= 0, url


def test_everything_is_reached_by_keyboard_and_the_focus_is_seen(page: Page) -> None:
    log_in(page)
    expect(page.get_by_role("button", name="REC")).to_be_visible()
    reached = [""]
    while reached[-1] != "REC" and len(reached) < 12:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) != "none", reached
    for wanted in ("Skip to content", "Capture", "Files", "Log out", "REC"):
        assert wanted in reached
