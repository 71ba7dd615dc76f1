"""What each role may: every view against every role, and what refusals look like."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_builder import example
from web_fakes import Site, make_site, write_users

from fwdcap.users.roles import Role, role_of
from webui.auth import OPEN, needed

pytestmark = pytest.mark.unit

S = "cli_capture_20150620_1128"


def entry(role: Role) -> dict[str, object]:
    """A user of that role in users.json."""
    return {"role": role.value} | ({"snaplen": 64} if role is Role.RESTRICTED else {})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = make_site(tmp_path)
    write_users(tmp_path, **{role.value: entry(role) for role in Role})
    example(tmp_path)
    return made


def test_the_ladder() -> None:
    assert [role.value for role in sorted(Role, key=lambda role: role.step)] == [
        "viewer",
        "restricted",
        "downloader",
        "operator",
        "admin",
    ]
    assert all(Role.ADMIN.may(role) and role.may(Role.VIEWER) for role in Role)
    assert not Role.VIEWER.may(Role.RESTRICTED)
    assert (role_of("operator"), role_of("root"), role_of(7)) == (Role.OPERATOR, None, None)


def test_every_view_says_which_role_it_needs(site: Site) -> None:
    for endpoint, view in site.app.view_functions.items():
        assert endpoint in OPEN or hasattr(view, "needed_role"), endpoint
    assert needed(site.app, "nobody.marked_this") is Role.ADMIN


def test_every_view_refuses_the_roles_below_and_no_other(site: Site) -> None:
    for rule in site.app.url_map.iter_rules():
        if rule.endpoint in OPEN:
            continue
        for method in sorted((rule.methods or set()) & {"GET", "PUT", "PATCH", "DELETE"}):
            for role in Role:
                url = rule.rule.replace("<", "").replace(">", "")
                answer = site.get(url, method=method, user=role.value)
                refused = answer.status_code == 403 and role.value in answer.text
                may = role.may(needed(site.app, rule.endpoint))
                assert refused is not may, (rule, method, role, answer.status_code)


@pytest.mark.parametrize(
    ("url", "least"),
    [
        ("/sysmaster/status", Role.VIEWER),
        ("/sysmaster/stats_summary", Role.VIEWER),
        ("/plain/list", Role.VIEWER),
        ("/capture", Role.VIEWER),
        ("/files", Role.VIEWER),
        ("/live.json", Role.VIEWER),
        (f"/pcap/single?StreamName={S}", Role.RESTRICTED),
        ("/sysmaster/capture_start?StreamName=x", Role.OPERATOR),
        (f"/pcap/del?StreamName={S}", Role.OPERATOR),
    ],
)
def test_the_least_role_of(site: Site, url: str, least: Role) -> None:
    refused = [role for role in Role if site.get(url, user=role.value).status_code == 403]
    assert refused == [role for role in Role if not role.may(least)]
    assert bool(site.control.asked) is (least is Role.OPERATOR)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("/sysmaster/capture_stop", "application/json"),
        (f"/pcap/del?StreamName={S}", "text/plain"),
        (f"/pcap/single?StreamName={S}", "text/plain"),
    ],
)
def test_a_refusal_has_the_shape_of_its_family(site: Site, url: str, kind: str) -> None:
    answer = site.get(url, user="viewer")
    assert (answer.status_code, answer.mimetype) == (403, kind)
    assert "User viewer has the role viewer, which may not do this." in answer.text
    assert "Ask an admin for the role" in answer.text


def test_what_is_not_there_is_404_for_everybody(site: Site) -> None:
    assert site.get("/nothing", user="viewer").status_code == 404


def test_buttons_a_role_may_not_press_are_not_shown(site: Site) -> None:
    for role, buttons in (
        (Role.VIEWER, set()),
        (Role.DOWNLOADER, {"download"}),
        (Role.OPERATOR, {"download", "rec", "delete"}),
    ):
        shown = site.get("/capture", user=role.value).text
        shown += site.get("/files", user=role.value).text
        shown += site.get(f"/files?StreamName={S}", user=role.value).text
        found = {
            name
            for name, mark in (
                ("download", "/pcap/"),
                ("rec", 'class="rec"'),
                ("delete", 'class="danger"'),
            )
            if mark in shown
        }
        assert found == buttons, role


def test_stop_is_shown_to_who_may_press_it(site: Site) -> None:
    site.get("/sysmaster/capture_start?StreamName=x")
    site.now[0] += 1
    assert 'class="stop"' not in site.get("/capture", user="downloader").text
    assert 'class="stop"' in site.get("/capture", user="operator").text


def test_a_user_without_a_known_role_cannot_log_in(site: Site) -> None:
    write_users(site.store, odd={"role": "king"}, none={})
    assert site.get("/plain/list", user="odd").status_code == 401
    assert site.get("/plain/list", user="none").status_code == 401
    assert site.get("/plain/list").status_code == 200


def test_the_audit_page_is_for_admins(site: Site) -> None:
    event = {"who": "<b>eve", "from": "192.0.2.1", "what": "delete", "target": "x_1"}
    for number in range(3):
        site.control.audit_report({**event, "result": f"r{number}"})
    page = site.browser().get("/audit").text
    assert "&lt;b&gt;eve" in page
    assert page.index("r2") < page.index("r0")
    assert "Audit</a>" in page
    assert "r0" not in site.get("/audit?Last=2").text
    assert "Audit</a>" not in site.get("/capture", user="operator").text
    assert site.get("/audit", user="operator").status_code == 403
    assert site.get("/audit?Last=x").status_code == 400
