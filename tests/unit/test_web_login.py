"""Ways to log in and what ends a login: delays, tokens, PAM, a proxy, a first new password."""

from __future__ import annotations

import json
import logging
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from store_builder import example
from web_fakes import HASH, NOW_NS, PASSWORD, Site, make_site, post, write_users

from fwdcap.errors import TooMany, Unavailable
from fwdcap.users.roles import Role
from webui.auth import OPEN
from webui.delays import FORGOTTEN_S, FREE, Delays
from webui.logins import Logins, from_json
from webui.reports import Reports
from webui.users import VERIFIED_S

pytestmark = pytest.mark.unit

NEW = "a better horse"
LOGINS = Logins(
    pam=True,
    proxy_header="X-Remote-User",
    proxy_groups="X-Remote-Groups",
    proxy_from=("10.0.0.5/32", "2001:db8::/64"),
    groups={"netops": Role.OPERATOR, "guests": Role.VIEWER},
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@pytest.fixture
def wide(tmp_path: Path) -> Site:
    """A site with PAM and a trusted proxy."""
    return make_site(tmp_path, logins=LOGINS)


def basic(site: Site, password: str, address: str = "192.0.2.1", user: str = "fwdcap") -> Any:
    return site.app.test_client().get(
        "/plain/list", auth=(user, password), environ_overrides={"REMOTE_ADDR": address}
    )


def bearer(site: Site, token: str, url: str = "/plain/list", **of: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    return site.app.test_client().open(url, headers=headers, **of)


# ---- delays


def test_delays_grow_from_one_second_to_a_minute() -> None:
    now = [0.0]
    delays = Delays(lambda: now[0])
    waited = []
    for _ in range(FREE - 1):
        delays.failed("ann", "a")
        delays.check("ann", "a")
    for _ in range(9):
        delays.failed("ann", "a")
        with pytest.raises(TooMany) as raised:
            delays.check("ann", "a")
        waited.append(raised.value.retry_s)
        now[0] += raised.value.retry_s - 0.5
        with pytest.raises(TooMany):
            delays.check("ann", "a")
        now[0] += 0.5
        delays.check("ann", "a")
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    delays.passed("ann", "a")
    delays.failed("ann", "a")
    delays.check("ann", "a")


def test_old_failures_are_forgotten_and_memory_is_bounded() -> None:
    now = [0.0]
    delays = Delays(lambda: now[0], pairs=10)
    for _ in range(FREE - 1):
        delays.failed("ann", "a")
    now[0] += FORGOTTEN_S
    delays.failed("ann", "a")
    delays.check("ann", "a")
    for number in range(100):
        delays.failed("x" * 10_000, str(number))
    assert len(delays._failed) == 10
    assert max(len(name) for name, _ in delays._failed) <= 128


def test_guessing_is_answered_429_and_nobody_else_is_affected(site: Site) -> None:
    write_users(site.store, ann={"role": "viewer"})
    for _ in range(FREE):
        assert basic(site, "wrong").status_code == 401
    refused = basic(site, PASSWORD)  # not even the right one
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert "too many wrong passwords" in refused.text
    assert basic(site, PASSWORD, "192.0.2.2").status_code == 200
    assert basic(site, PASSWORD, user="ann").status_code == 200
    site.now[0] += 1
    assert basic(site, PASSWORD).status_code == 200
    assert basic(site, "wrong").status_code == 401  # counted anew


def test_a_login_that_is_remembered_is_no_way_to_guess_faster(site: Site) -> None:
    assert basic(site, PASSWORD).status_code == 200
    for _ in range(FREE):
        basic(site, "wrong")
    assert basic(site, PASSWORD).status_code == 429


def test_unknown_accounts_are_not_told_apart(site: Site) -> None:
    seen = {
        name: [basic(site, "wrong", user=name).status_code for _ in range(FREE + 1)]
        for name in ("fwdcap", "nobody")
    }
    assert seen["fwdcap"] == seen["nobody"] == [401] * FREE + [429]


def test_the_login_page_says_how_long_to_wait(site: Site) -> None:
    browser = site.browser(login=False)
    for _ in range(FREE):
        assert post(browser, "/login", name="fwdcap", password="wrong").status_code == 401
    answer = post(browser, "/login", name="fwdcap", password=PASSWORD)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert "Wait for 1 s" in answer.text


# ---- tokens


def test_a_token_opens_every_family_and_stops_at_once(site: Site) -> None:
    example(site.store)
    people = site.control.people
    token = people.token_add({"name": "ci", "user": "fwdcap"})["token"]
    for url in ("/plain/list", "/sysmaster/status", "/capture", "/live.json"):
        assert bearer(site, token, url).status_code == 200
    assert bearer(site, token, "/sysmaster/capture_start?StreamName=x").status_code == 200
    people.token_remove("ci")
    assert bearer(site, token).status_code == 401


def test_a_token_is_no_more_than_its_role_and_its_owner(site: Site) -> None:
    people = site.control.people
    viewer = people.token_add({"name": "v", "user": "fwdcap", "role": "viewer"})["token"]
    assert bearer(site, viewer).status_code == 200
    assert bearer(site, viewer, "/sysmaster/capture_stop").status_code == 403
    people.user_add({"name": "ann", "role": "operator", "password": PASSWORD})
    token = people.token_add({"name": "o", "user": "ann"})["token"]
    start = "/sysmaster/capture_start?StreamName=x"
    assert bearer(site, token, start).status_code == 200
    people.user_set("ann", {"role": "viewer"})
    assert bearer(site, token, start).status_code == 403
    people.user_remove("ann")
    assert bearer(site, token).status_code == 401


def test_a_token_ends(site: Site) -> None:
    people = site.control.people
    over = people.token_add({"name": "a", "user": "fwdcap", "expires_ns": NOW_NS + 1})["token"]
    assert bearer(site, over).status_code == 200
    text = (site.store / "users.json").read_text().replace(str(NOW_NS + 1), str(NOW_NS))
    (site.store / "users.json").write_text(text + " ")
    assert bearer(site, over).status_code == 401


@pytest.mark.parametrize("token", ["x", "", "fwdcap_", PASSWORD, "ä", "x" * 10_000])
def test_a_wrong_token_is_401_and_called_one(site: Site, token: str) -> None:
    site.control.people.token_add({"name": "ci", "user": "fwdcap"})
    answer = bearer(site, token.encode().decode("latin1"))
    assert answer.status_code == 401
    if token:
        assert "token is wrong" in answer.text
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_token_is_not_rescued_by_a_session(site: Site) -> None:
    browser = site.browser()
    answer = browser.get("/plain/list", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 401


def test_tokens_are_compared_in_constant_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from webui import users

    for name in ("a", "b", "c"):
        token = site.control.people.token_add({"name": name, "user": "fwdcap"})["token"]
    compared = []
    real = users.hmac.compare_digest
    monkeypatch.setattr(
        users.hmac, "compare_digest", lambda a, b: compared.append(len(a)) or real(a, b)
    )
    bearer(site, token)
    assert compared == [64, 64, 64]
    bearer(site, "x")
    assert compared == [64] * 6


# ---- what ends a login


def test_removed_and_changed_users_are_out_at_once(site: Site) -> None:
    people = site.control.people
    people.user_add({"name": "ann", "role": "operator", "password": PASSWORD})
    browser = site.browser(user="ann")
    assert browser.get("/capture").status_code == 200
    assert basic(site, PASSWORD, user="ann").status_code == 200
    people.user_set("ann", {"role": "viewer"})
    assert 'class="rec"' not in browser.get("/capture").text
    assert site.get("/sysmaster/capture_stop", user="ann").status_code == 403
    people.user_set("ann", {"password": NEW})
    assert browser.get("/capture").status_code == 401
    assert basic(site, PASSWORD, user="ann").status_code == 401
    browser = site.app.test_client()
    assert post(browser, "/login", name="ann", password=NEW).status_code == 303
    people.user_remove("ann")
    assert browser.get("/capture").status_code == 401
    assert basic(site, NEW, user="ann").status_code == 401


# ---- a password that others may know


@pytest.fixture
def first(site: Site) -> Site:
    """The first admin's password is the instance id."""
    users = {"fwdcap": {"hash": HASH, "role": "admin", "provisional": True}}
    (site.store / "users.json").write_text(json.dumps({"users": users}))
    return site


def test_the_first_browser_sees_nothing_but_the_new_password(first: Site) -> None:
    browser = first.browser()
    for rule in first.app.url_map.iter_rules():
        if rule.endpoint in OPEN | {"password.change", "pages.logout"} or "<" in rule.rule:
            continue
        method = "GET" if "GET" in (rule.methods or ()) else "POST"
        answer = browser.open(rule.rule, method=method, headers={"Sec-Fetch-Site": "same-origin"})
        if method == "GET" and answer.status_code == 303:
            assert answer.headers["Location"] == "/password", rule
        else:  # a POST without our form's token goes no further either
            assert answer.status_code in {400, 403}, rule
    assert first.control.asked == []
    assert first.get("/plain/list").status_code == 200  # Basic keeps working


def change(browser: Any, **form: str) -> Any:
    page = browser.get("/password").text
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page
    return browser.post("/password", data={**form, "csrf_token": found[1]})


def test_a_new_password_opens_the_pages_and_closes_other_sessions(first: Site) -> None:
    browser, other = first.browser(), first.browser()
    answer = change(browser, old=PASSWORD, new=NEW, again=NEW)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/capture")
    assert "password is changed" in browser.get("/capture").text
    assert other.get("/capture").status_code == 401
    assert basic(first, PASSWORD).status_code == 401
    assert basic(first, NEW).status_code == 200
    assert first.control.people.notices() == ()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"old": "wrong", "new": NEW, "again": NEW}, "old password is wrong"),
        ({"old": PASSWORD, "new": NEW, "again": "other"}, "typed in two ways"),
        ({"old": PASSWORD, "new": "short", "again": "short"}, "not a text of"),
        ({"old": PASSWORD, "new": PASSWORD, "again": PASSWORD}, "is the old one"),
        ({}, "not a text of"),
    ],
)
def test_a_refused_new_password_changes_nothing(
    first: Site, form: dict[str, str], said: str
) -> None:
    browser = first.browser()
    answer = change(browser, **form)
    assert (answer.status_code, said in answer.text) == (400, True)
    assert browser.get("/capture").headers["Location"] == "/password"
    assert basic(first, PASSWORD).status_code == 200


def test_a_user_of_a_token_has_no_password_to_change(site: Site) -> None:
    token = site.control.people.token_add({"name": "ci", "user": "fwdcap"})["token"]
    assert bearer(site, token, "/password").status_code == 403


# ---- PAM


def test_pam_lets_in_by_group(wide: Site) -> None:
    wide.control.pam = {("olga", "x1"): ["staff", "netops"], ("gus", "x2"): ["guests"]}
    wide.control.pam[("none", "x3")] = ["staff"]
    assert basic(wide, "x1", user="olga").status_code == 200
    assert basic(wide, "x2", user="olga").status_code == 401
    assert basic(wide, "x3", user="none").status_code == 401
    client = wide.app.test_client()
    stop = "/sysmaster/capture_stop"
    assert client.get(stop, auth=("gus", "x2")).status_code == 403
    assert client.get(stop, auth=("olga", "x1")).status_code == 409


def test_a_pam_user_has_a_session_that_a_local_one_ends(wide: Site) -> None:
    wide.control.pam = {("olga", "x1"): ["netops"]}
    browser = wide.app.test_client()
    assert post(browser, "/login", name="olga", password="x1").status_code == 303
    assert "Log out" in browser.get("/capture").text
    assert browser.get("/password").status_code == 403
    wide.control.people.user_add({"name": "olga", "role": "viewer", "password": PASSWORD})
    assert browser.get("/capture").status_code == 401


def test_pam_never_speaks_for_a_local_user(wide: Site) -> None:
    wide.control.pam = {("fwdcap", "x1"): ["netops"]}
    assert basic(wide, "x1").status_code == 401
    assert basic(wide, PASSWORD).status_code == 200


def test_a_pam_login_is_remembered_for_a_minute(wide: Site) -> None:
    wide.control.pam = {("olga", "x1"): ["netops"]}
    assert basic(wide, "x1", user="olga").status_code == 200
    wide.control.pam = {}
    assert basic(wide, "x1", user="olga").status_code == 200
    wide.now[0] += VERIFIED_S
    assert basic(wide, "x1", user="olga").status_code == 401


def test_pam_that_cannot_be_asked_is_503_and_locals_go_on(wide: Site) -> None:
    wide.control.refusal = Unavailable("PAM could not be asked.", code="pam-unavailable")
    assert basic(wide, "x1", user="olga").status_code == 503
    assert basic(wide, PASSWORD).status_code == 200


def test_pam_is_off_by_default(site: Site) -> None:
    site.control.pam = {("olga", "x1"): ["netops"]}
    assert basic(site, "x1", user="olga").status_code == 401


# ---- a trusted proxy


def proxied(site: Site, peer: str, url: str = "/capture", **of: Any) -> Any:
    headers = {"X-Remote-User": "olga", "X-Remote-Groups": "staff, netops"} | of.pop("headers", {})
    return site.app.test_client().open(
        url, headers=headers, environ_overrides={"REMOTE_ADDR": peer}, **of
    )


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.0.0.5", True),
        ("2001:db8::7", True),
        ("10.0.0.6", False),
        ("127.0.0.1", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_a_proxys_word_counts_from_its_address_alone(wide: Site, peer: str, trusted: bool) -> None:
    answer = proxied(wide, peer)
    assert answer.status_code == (200 if trusted else 401)
    assert not trusted or ("olga" in answer.text and "Log out" not in answer.text)


@pytest.mark.parametrize(
    "headers",
    [{"X-Remote-Groups": "staff"}, {"X-Remote-Groups": ""}, {"X-Remote-User": " "}],
)
def test_a_proxied_user_without_a_role_or_name_is_nobody(
    wide: Site, headers: dict[str, str]
) -> None:
    assert proxied(wide, "10.0.0.5", headers=headers).status_code == 401


def test_a_proxied_browser_cannot_be_made_to_change_something(wide: Site) -> None:
    url = "/sysmaster/capture_start?StreamName=x"
    assert proxied(wide, "10.0.0.5", url).status_code == 403
    own = {"Sec-Fetch-Site": "same-origin"}
    assert proxied(wide, "10.0.0.5", url, headers=own).status_code == 200
    form = proxied(wide, "10.0.0.5", "/capture/stop", method="POST", headers=own)
    assert form.status_code == 400  # no token of ours


def test_the_header_means_nothing_by_default(site: Site) -> None:
    assert proxied(site, "10.0.0.5").status_code == 401


def test_the_daemons_settings_arrive() -> None:
    text = json.dumps(
        {
            "pam": True,
            "proxy_header": "X-Remote-User",
            "proxy_groups": "X-Remote-Groups",
            "proxy_from": ["10.0.0.5/32", "2001:db8::/64"],
            "groups": {"netops": "operator", "guests": "viewer", "odd": "king"},
        }
    )
    assert from_json(text) == LOGINS
    assert from_json("{}") == Logins()


# ---- what the audit log is told


def test_logins_failures_and_refusals_are_told(site: Site) -> None:
    write_users(site.store, ann={"role": "viewer"})
    site.browser()
    basic(site, "wrong")
    basic(site, "secret of mine", user="typed my password here")
    site.get("/sysmaster/capture_stop", user="ann")
    bearer(site, "nonsense")
    assert site.told() == [
        ("fwdcap", "login", "", "done"),
        ("fwdcap", "login-failed", "/plain/list", "wrong-login"),
        ("(unknown)", "login-failed", "/plain/list", "wrong-login"),
        ("ann", "login", "", "done"),
        ("ann", "refused", "/sysmaster/capture_stop", "role"),
        ("(token)", "login-failed", "/plain/list", "wrong-token"),
    ]
    assert {event["from"] for event in site.control.events} == {"127.0.0.1", "192.0.2.1"}


def test_whoever_has_no_password_cannot_fill_the_log(site: Site) -> None:
    for number in range(20):
        bearer(site, "no", f"/plain/list?rand={number}")
        bearer(site, "no", f"/no/{number}")
    assert len([event for event in site.told() if event[1] == "login-failed"]) == 1


def test_names_that_nobody_has_do_not_take_every_worker(site: Site) -> None:
    """Each is another pair for the delays; a user who is known is still let in."""
    users = site.app.extensions["fwdcap"].users
    with ExitStack() as waiting:
        for _ in range(4):
            waiting.enter_context(users._few(None))
        refused = basic(site, "x", user="who")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert site.get("/plain/list").status_code == 200
    assert basic(site, "x", user="who").status_code == 401


def test_downloads_are_told_and_looking_is_not(site: Site) -> None:
    built = example(site.store)
    url = f"/pcap/single?StreamName={built.stream}"
    site.get(url, method="HEAD")
    site.get("/plain/list")
    assert site.told("download") == []
    site.get(url)
    site.get(url, Range="bytes=24-")  # the same again
    site.get(f"{url}&FilterTCP=true")
    site.get(f"{url}&Format=pcapng")
    who = ("fwdcap", "download")
    assert site.told("download") == [
        (*who, f"{built.stream}.pcap", "done"),
        (*who, f"{built.stream}.pcapng", "done"),
    ]


def test_a_program_that_asks_all_day_is_told_once_an_hour(site: Site) -> None:
    for _ in range(100):
        site.now[0] += 60
        site.get("/plain/list")
    assert len(site.told("login")) == 2


def test_what_cannot_be_told_is_logged_and_nobody_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def send(event: object) -> None:
        raise Unavailable("The daemon is away.", code="daemon-not-running")

    reports = Reports(send, lambda: 0.0)
    reports.tell("login", "ann", "192.0.2.1")
    assert reports.flush(10)
    assert "the audit log does not have" in caplog.text
    assert "ann" in caplog.text


def test_no_secret_is_logged_anywhere(wide: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wide.control.pam = {("olga", "pam secret"): ["netops"]}
    token = wide.control.people.token_add({"name": "ci", "user": "fwdcap"})["token"]
    secrets = ["wrong secret", PASSWORD, "pam secret", token, "fwdcap_wrong", NEW]
    basic(wide, "wrong secret")
    basic(wide, PASSWORD)
    basic(wide, "pam secret", user="olga")
    bearer(wide, token)
    bearer(wide, "fwdcap_wrong")
    change(wide.browser(), old=PASSWORD, new=NEW, again=NEW)
    (wide.store / "users.json").write_text("{")
    basic(wide, PASSWORD)
    told = str(wide.told())
    for secret in secrets:
        assert secret not in caplog.text
        assert secret not in told
        assert secret not in repr(vars(wide.app.extensions["fwdcap"].users))
