"""Nobody gets in without a password, and no other site acts in somebody's name."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from store_builder import example
from web_fakes import HASH, PASSWORD, Site, make_site, post, write_users
from werkzeug.security import generate_password_hash

from webui import users
from webui.auth import OPEN
from webui.headers import SECURITY

pytestmark = pytest.mark.unit

CHANGING = ("/sysmaster/capture_start?StreamName=x", "/sysmaster/capture_stop")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def test_every_path_but_three_needs_a_login(site: Site) -> None:
    example(site.store)
    asked = set()
    for rule in site.app.url_map.iter_rules():
        url = rule.rule.replace("<path:filename>", "fwdcap.css")
        for method in sorted(rule.methods or ()):
            answer = site.app.test_client().open(url, method=method)
            if rule.endpoint in OPEN:
                assert answer.status_code != 401, (rule, method)
            else:
                assert answer.status_code == 401, (rule, method)
                assert "WWW-Authenticate" in answer.headers
                asked.add(rule.endpoint)
    assert {"pages.login", "static", "health.healthz"} == OPEN
    assert {"pages.live", "pcap.single", "plain.list_", "sysmaster.capture_start"} <= asked


def test_addresses_that_do_not_exist_are_not_told_apart_without_a_login(site: Site) -> None:
    for url in ("/nothing", "/plain/nothing", "/sysmaster/nothing", "/pcap/single/x"):
        assert site.app.test_client().get(url).status_code == 401
        assert site.get(url).status_code == 404


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/plain/list", "text/plain"),
        ("/pcap/single", "text/plain"),
        ("/sysmaster/status", "application/json"),
        ("/capture", "text/html"),
    ],
)
def test_401_has_the_shape_of_its_family(site: Site, path: str, kind: str) -> None:
    answer = site.app.test_client().get(path)
    assert (answer.status_code, answer.mimetype) == (401, kind)
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="fwdcap"'


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!!",
        "Basic " + base64.b64encode(b"fwdcap").decode(),
        "Basic " + base64.b64encode(b"fwdcap:wrong").decode(),
        "Basic " + base64.b64encode(f"nobody:{PASSWORD}".encode()).decode(),
        "Basic " + base64.b64encode(b":").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + base64.b64encode(f"fwdcap:{PASSWORD}\0".encode()).decode(),
        "Bearer " + PASSWORD,
    ],
)
def test_wrong_credentials_of_every_kind(site: Site, header: str) -> None:
    answer = site.app.test_client().get("/plain/list", headers={"Authorization": header})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/plain/list", "/sysmaster/status", "/api/v1/nothing"])
def test_wrong_credentials_are_called_wrong_and_not_missing(site: Site, path: str) -> None:
    client = site.app.test_client()
    for login in (("fwdcap", "wrong"), ("nobody", PASSWORD), ("fwdcap", "")):
        answer = client.get(path, auth=login)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="fwdcap"'
        assert "User name or password is wrong." in answer.text
    assert "A user name and a password are needed." in client.get(path).text


def test_wrong_credentials_are_not_rescued_by_a_session(site: Site) -> None:
    assert site.browser().get("/plain/list", auth=("fwdcap", "wrong")).status_code == 401


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"users": []}', '{"users": {"fwdcap": 1}}'])
def test_a_users_file_that_is_missing_or_damaged_lets_nobody_in(
    site: Site, text: str | None
) -> None:
    path = site.store / "users.json"
    path.unlink() if text is None else path.write_text(text)
    assert site.get("/plain/list").status_code == 401


def test_a_hash_of_an_unknown_kind_lets_nobody_in(site: Site) -> None:
    write_users(site.store, "argon9$x$y")
    assert site.get("/plain/list").status_code == 401


def test_a_verified_login_is_remembered_for_a_minute(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    real = users.check_password_hash

    def check(stored: str, password: str) -> bool:
        checked.append(password)
        return real(stored, password)

    monkeypatch.setattr(users, "check_password_hash", check)
    for _ in range(5):
        assert site.get("/plain/list").status_code == 200
    assert len(checked) == 1
    site.now[0] += users.VERIFIED_S
    assert site.get("/plain/list").status_code == 200
    assert len(checked) == 2


def test_a_wrong_password_is_never_remembered_and_unknown_users_cost_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(users, "check_password_hash", lambda stored, _: checked.append(stored))
    for name in ("fwdcap", "fwdcap", "nobody", "nobody"):
        answer = site.app.test_client().get("/plain/list", auth=(name, "wrong"))
        assert answer.status_code == 401
    assert len(checked) == 4
    assert checked[2].startswith("scrypt:")


def test_the_password_is_kept_nowhere(site: Site) -> None:
    site.get("/plain/list")
    kept = repr(vars(site.app.extensions["fwdcap"].users))
    assert PASSWORD not in kept


def test_a_changed_password_counts_at_once_for_programs_and_sessions(site: Site) -> None:
    browser = site.browser()
    assert browser.get("/capture").status_code == 200
    assert site.get("/plain/list").status_code == 200
    write_users(site.store, generate_password_hash("another", method="scrypt:1024:1:1"))
    assert site.get("/plain/list").status_code == 401
    assert browser.get("/capture").status_code == 401
    write_users(site.store, HASH)
    assert site.get("/plain/list").status_code == 200


def test_login_and_logout(site: Site) -> None:
    browser = site.browser(login=False)
    wanted = browser.get("/files", headers={"Accept": "text/html"})
    assert (wanted.status_code, wanted.headers["Location"]) == (303, "/login?next=/files")
    answer = post(browser, "/login", name="fwdcap", password=PASSWORD, next="/files")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/files")
    assert browser.get("/files").status_code == 200
    assert browser.get("/login").status_code == 303
    assert post(browser, "/logout").status_code == 303
    assert browser.get("/files").status_code == 401


def test_a_wrong_password_on_the_login_page(site: Site) -> None:
    answer = post(site.browser(login=False), "/login", name="fwdcap", password="wrong")
    assert answer.status_code == 401
    assert "User name or password is wrong." in answer.text
    assert not answer.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/login", "x", ""]
)
def test_login_never_leads_elsewhere(site: Site, target: str) -> None:
    answer = post(
        site.browser(login=False), "/login", name="fwdcap", password=PASSWORD, next=target
    )
    assert answer.headers["Location"] == "/capture"


def test_the_session_cookie_is_closed_to_scripts_and_other_sites(site: Site) -> None:
    browser = site.app.test_client()
    cookie = browser.get("/login").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    over_tls = site.app.test_client().get("/login", base_url="https://localhost")
    assert "Secure" in over_tls.headers["Set-Cookie"]


@pytest.mark.parametrize("url", CHANGING)
@pytest.mark.parametrize(
    ("headers", "by_password", "by_session"),
    [
        ({}, True, False),
        ({"Sec-Fetch-Site": "none"}, True, False),
        ({"Sec-Fetch-Site": "same-origin"}, True, True),
        ({"Origin": "http://localhost"}, True, True),
        ({"Sec-Fetch-Site": "cross-site"}, False, False),
        ({"Sec-Fetch-Site": "same-site"}, False, False),
        ({"Origin": "http://evil.example"}, False, False),
        ({"Origin": "http://localhost:81"}, False, False),
        ({"Origin": "null"}, False, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"}, False, False),
    ],
)
def test_who_may_change_something_by_get(
    site: Site, url: str, headers: dict[str, str], by_password: bool, by_session: bool
) -> None:
    client = site.app.test_client()
    answer = client.get(url, headers=headers, auth=("fwdcap", PASSWORD))
    assert (answer.status_code != 403) is by_password
    assert bool(site.control.asked) is by_password
    site.control.asked.clear()
    site.control.now["capture"]["active"] = False
    answer = site.browser().get(url, headers=headers)
    assert (answer.status_code != 403) is by_session
    assert bool(site.control.asked) is by_session
    if answer.status_code == 403:
        assert json.loads(answer.data)["Status"] is False


def test_other_sites_may_link_to_what_only_reads(site: Site) -> None:
    example(site.store)
    for url in ("/capture", "/files", "/plain/list"):
        assert site.browser().get(url, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_forms_need_their_token_and_our_own_origin(site: Site) -> None:
    browser = site.browser()
    without = browser.post("/capture/start", data={"name": "x"})
    assert (without.status_code, "no longer valid" in without.text) == (400, True)
    page = browser.get("/capture").text
    token = page.split('name="csrf_token" value="')[1].split('"')[0]
    foreign = browser.post(
        "/capture/start",
        data={"name": "x", "csrf_token": token},
        headers={"Origin": "http://evil.example"},
    )
    assert foreign.status_code == 403
    assert site.control.asked == []
    own = browser.post(
        "/capture/start",
        data={"name": "x", "csrf_token": token},
        headers={"Origin": "http://localhost"},
    )
    assert own.status_code == 303
    assert site.control.asked == [("start", "x", None)]


def test_the_script_is_told_without_a_dialog(site: Site) -> None:
    answer = site.app.test_client().get("/live.json")
    assert answer.status_code == 401
    assert not answer.headers["WWW-Authenticate"].startswith("Basic")
    assert answer.get_json()["error"]["code"] == "http-401"


@pytest.mark.parametrize(
    "url", ["/capture", "/login", "/healthz", "/plain/list", "/static/live.js", "/nothing"]
)
def test_every_answer_has_the_security_headers(site: Site, url: str) -> None:
    answer = site.get(url)
    for name, value in SECURITY.items():
        assert answer.headers[name] == value
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
