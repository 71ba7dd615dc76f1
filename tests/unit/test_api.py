"""/api/v1: what each address answers, takes and refuses, and to whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from store_builder import SECOND_NS, STARTED_NS, StreamBuilder, example, packets
from web_fakes import NOW_NS, PASSWORD, Site, make_site, write_users
from werkzeug.test import TestResponse

from fwdcap import __version__
from fwdcap.errors import Conflict, DiskFull, Unavailable
from fwdcap.store.views import VIEWS
from fwdcap.users.roles import Role

pytestmark = pytest.mark.unit

S = "cli_capture_20150620_1128"
ROW = {"name": "nightly", "days": ["mon", "fri"], "start": "22:00", "stop": "06:00"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = make_site(tmp_path)
    example(tmp_path)
    return site


def ask(site: Site, method: str, path: str, body: Any = None, **headers: str) -> TestResponse:
    """A program's request; `body` is sent as JSON."""
    return site.app.test_client().open(
        f"/api/v1/{path}",
        method=method,
        json=body,
        auth=("fwdcap", PASSWORD),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def refusal(answer: TestResponse) -> tuple[int, str]:
    """Status and code, of an answer in the shape all refusals have."""
    assert answer.mimetype == "application/json"
    body = answer.json
    assert list(body) == ["error"]
    assert set(body["error"]) == {"code", "message", "hint"}
    assert all(isinstance(value, str) for value in body["error"].values())
    assert body["error"]["message"]
    return answer.status_code, body["error"]["code"]


def test_status_is_the_daemons(site: Site) -> None:
    site.control.now["warnings"] = [{"code": "x", "message": "Look.", "hint": "There."}]
    site.control.now["later"] = "a key nobody has described"
    site.control.now["store"]["archive"] = {
        "path": "/mnt/archive",
        "there": True,
        "used_bytes": 1,
        "free_bytes": 2,
        "total_bytes": 3,
    }
    answer = ask(site, "GET", "status").json
    expected = dict(site.control.now)
    assert "later" not in answer
    assert "/mnt" not in json.dumps(answer)
    for key in ("version", "time_ns", "datapath", "forwarding", "routes", "warnings", "uptime_s"):
        assert answer[key] == expected[key], key
    assert answer["capture"]["lost"] == expected["capture"]["lost"]
    assert answer["store"]["archive"]["used_bytes"] == 1


def test_the_time_is_a_bare_integer(site: Site) -> None:
    answer = ask(site, "GET", "system/time_current")
    assert (answer.mimetype, answer.text) == ("application/json", str(NOW_NS))


def test_the_version_needs_no_daemon(site: Site) -> None:
    assert ask(site, "GET", "system/version").json == {"version": __version__, "daemon": "0.1.0"}
    site.control.refusal = Unavailable("Away.", code="daemon-not-running")
    site.now[0] += 1
    assert ask(site, "GET", "system/version").json == {"version": __version__, "daemon": None}


@pytest.mark.parametrize("path", ["status", "interfaces", "captures/current", "schedule", "routes"])
def test_a_daemon_that_is_away_is_503(site: Site, path: str) -> None:
    site.control.refusal = Unavailable("No /run/x.sock.", code="daemon-not-running")
    answer = ask(site, "GET", path)
    assert refusal(answer) == (503, "daemon-not-running")
    assert "/run" not in answer.text


def test_interfaces_and_their_data_path(site: Site) -> None:
    assert ask(site, "GET", "interfaces").json["interfaces"] == [
        {
            "name": "cap0",
            "link": "up",
            "link_speed_mbit": 10000,
            "mtu": 1500,
            "driver": "ena",
            "addresses": ["10.0.1.166"],
            "datapath": "forwarding",
        }
    ]
    answer = ask(site, "POST", "interfaces/cap0/detach")
    assert answer.json == {"interface": "cap0", "message": "detached from cap0", "lines": []}
    assert ask(site, "GET", "interfaces").json["interfaces"][0]["datapath"] == "detached"
    assert refusal(ask(site, "POST", "interfaces/cap0/detach")) == (409, "not-attached")
    assert refusal(ask(site, "POST", "interfaces/other/attach"))[0] == 404
    assert ask(site, "POST", "interfaces/cap0/attach").status_code == 200
    assert site.control.asked[-1] == ("attach", "cap0")


@pytest.mark.parametrize("name", ["x" * 16, "a b", "%00", "ä", "a:1", "%0a"])
@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_a_name_no_interface_can_have_is_not_asked_for(site: Site, name: str, verb: str) -> None:
    answer = ask(site, "POST", f"interfaces/{name}/{verb}")
    assert refusal(answer) == (404, "no-such-interface")
    assert site.control.asked == []


def test_a_stream_with_all_its_numbers(site: Site) -> None:
    found = ask(site, "GET", "streams").json
    assert {key: found[key] for key in ("page", "pages", "per_page", "total")} == {
        "page": 1,
        "pages": 1,
        "per_page": 200,
        "total": 1,
    }
    one = ask(site, "GET", f"streams/{S}").json
    assert found["streams"] == [one]
    single = site.get(f"/pcap/single?StreamName={S}")
    assert one["size_bytes"] == len(single.data)
    assert (one["stream"], one["name"], one["state"]) == (S, "cli_capture", "complete")
    assert (one["first_ns"], one["packets"], one["lost"]) == (STARTED_NS, 100, 0)


def test_pages_of_streams_hold_each_once(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    names = [f"x_20150620_11{minute:02}" for minute in range(7)]
    for number, name in enumerate(names):
        StreamBuilder(tmp_path, stream=name, started_ns=STARTED_NS + number).complete().write()
    pages = [ask(site, "GET", f"streams?page={page}&per_page=3").json for page in (1, 2, 3, 4)]
    assert [row["stream"] for page in pages for row in page["streams"]] == names[::-1]
    assert [len(page["streams"]) for page in pages] == [3, 3, 1, 0]
    assert {(page["pages"], page["total"]) for page in pages} == {(3, 7)}


def test_the_state_is_what_the_pages_say(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    StreamBuilder(tmp_path, stream=S).add(packets(3)).write()
    assert ask(site, "GET", f"streams/{S}").json["state"] == "interrupted"
    site.control.capture_start("cli_capture")
    site.now[0] += 1
    assert ask(site, "GET", f"streams/{S}").json["state"] == "recording"
    assert refusal(ask(site, "DELETE", f"streams/{S}")) == (409, "stream-recording")


def test_views_lead_to_splits_and_splits_to_downloads(site: Site) -> None:
    views = ask(site, "GET", f"streams/{S}/views").json["views"]
    assert [view["name"] for view in views] == [view.name for view in VIEWS]
    assert views[0]["period_ns"] == 10**9
    assert views[-1]["size_bytes"] == 10**12
    splits = site.get(views[0]["splits"]).json
    assert (splits["stream"], splits["view"], splits["total"]) == (S, "split_1sec", 1)
    (split,) = splits["splits"]
    sent = site.get(split["pcap"])
    assert (sent.status_code, len(sent.data)) == (200, split["size_bytes"])
    plain = site.get(f"/plain/split?StreamName={S}&StreamView=split_1sec").text
    assert f"{split['name']},{split['size_bytes']},{split['packets']}," in plain


def test_pages_of_splits_hold_each_once(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    builder = StreamBuilder(tmp_path, stream=S)
    for second in range(25):  # a segment begins with an entry of the index
        if second:
            builder.roll()
        builder.add(packets(2, start_ns=STARTED_NS + second * SECOND_NS))
    builder.complete().write()
    path = f"streams/{S}/splits?view=split_1sec"
    whole = ask(site, "GET", path).json["splits"]
    assert len(whole) == 25
    pages = [ask(site, "GET", f"{path}&per_page=10&page={page}").json for page in (1, 2, 3, 4)]
    assert [split for page in pages for split in page["splits"]] == whole
    assert {(page["total"], page["pages"]) for page in pages} == {(25, 3)}
    assert [len(page["splits"]) for page in pages] == [10, 10, 5, 0]


def test_a_stream_is_deleted_once(site: Site) -> None:
    answer = ask(site, "DELETE", f"streams/{S}")
    assert answer.json == {"stream": S, "message": f"deleted stream [{S}]"}
    for method, path in (
        ("DELETE", f"streams/{S}"),
        ("GET", f"streams/{S}"),
        ("GET", f"streams/{S}/views"),
        ("GET", f"streams/{S}/splits?view=split_1sec"),
    ):
        assert refusal(ask(site, method, path)) == (404, "no-such-stream")


@pytest.mark.parametrize("name", ["..", ".", "%2e%2e", "x" * 10_000, "%00", "ä", "a b", "-x;y"])
def test_odd_stream_names_are_not_there(site: Site, name: str) -> None:
    for path in (f"streams/{name}", f"streams/{name}/views"):
        for method in ("GET", "DELETE"):
            answer = ask(site, method, path)
            assert answer.status_code in (404, 405)
            refusal(answer)
    assert site.control.asked == []


def test_a_capture_from_start_to_stop(site: Site) -> None:
    idle = ask(site, "GET", "captures/current").json
    assert (idle["active"], idle["name"]) == (False, None)
    caps = {"max_bytes": 10**10, "max_packets": 7, "max_seconds": 60}
    began = ask(site, "POST", "captures", {"name": "x", "snaplen": 96, **caps})
    assert (began.status_code, began.headers["Location"]) == (201, "/api/v1/captures/current")
    assert began.json["message"] == "successfully started capture [x]"
    assert site.control.asked == [("start", "x", 96, caps)]
    current = ask(site, "GET", "captures/current").json
    assert (current["active"], current["stream"]) == (True, began.json["stream"])
    assert refusal(ask(site, "POST", "captures", {"name": "y"})) == (409, "already-capturing")
    ended = ask(site, "DELETE", "captures/current")
    assert (ended.status_code, ended.json["time_ns"]) == (200, NOW_NS)
    assert refusal(ask(site, "DELETE", "captures/current")) == (409, "not-capturing")


def test_a_full_disk_is_507(site: Site) -> None:
    site.control.refusal = DiskFull("The store is full.", code="disk-full")
    assert refusal(ask(site, "POST", "captures", {"name": "x"})) == (507, "disk-full")


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        ({}, "missing-key", "name is missing"),
        ({"name": "x", "max_bites": 1}, "unknown-key", "max_bites"),
        ({"name": 7}, "bad-value", "name"),
        ({"name": ".x"}, "bad-name", "The capture's name"),
        ({"name": ""}, "bad-name", "The capture's name"),
        ({"name": "x" * 129}, "bad-name", "The capture's name"),
        ({"name": "x\n"}, "bad-name", "The capture's name"),
        ({"name": "x", "max_bytes": "1GB"}, "bad-value", "max_bytes"),
        ({"name": "x", "max_bytes": True}, "bad-value", "max_bytes"),
        ({"name": "x", "max_bytes": 1.5}, "bad-value", "max_bytes"),
        ({"name": "x", "max_bytes": 0}, "bad-value", "max_bytes must be greater than 0."),
        ({"name": "x", "max_seconds": 2**63}, "bad-value", "max_seconds"),
        ({"name": "x", "snaplen": -1}, "bad-value", "snaplen"),
        ({"name": "x", "snaplen": 1 << 20}, "bad-value", "snaplen"),
        ([], "bad-json", "no JSON object"),
        ("x", "bad-json", "no JSON object"),
    ],
)
def test_a_body_that_is_wrong_is_refused_by_name(
    site: Site, body: Any, code: str, word: str
) -> None:
    answer = ask(site, "POST", "captures", body)
    assert refusal(answer) == (400, code)
    assert word in answer.json["error"]["message"]
    assert site.control.asked == []


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "line 1, column 1"),
        (b'{"name": "x"', "line 1, column 13"),
        (b'{"name": "x",}', "no JSON"),
        (b'{"name": "x", "name": "y"}', "'name' is there twice"),
        (b'{"name": "x", "max_bytes": NaN}', "NaN is no number"),
        (b'{"name": "x", "max_bytes": %s}' % (b"9" * 5000), "no JSON"),
        (b'{"name": "\xff"}', "byte 10 is not UTF-8"),
        (b"[" * 60_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(site: Site, raw: bytes, word: str) -> None:
    answer = site.app.test_client().post(
        "/api/v1/captures",
        data=raw,
        content_type="application/json",
        auth=("fwdcap", PASSWORD),
    )
    assert refusal(answer) == (400, "bad-json")
    assert word in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "captures"), ("PUT", "schedule"), ("DELETE", "captures/current")],
)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_taken(site: Site, method: str, path: str, kind: str) -> None:
    answer = site.app.test_client().open(
        f"/api/v1/{path}",
        method=method,
        data=b'{"name": "x"}',
        headers={"Content-Type": kind} if kind else {},
        auth=("fwdcap", PASSWORD),
    )
    assert refusal(answer) == (415, "http-415")
    assert site.control.asked == []


def test_a_body_that_is_too_large_is_413(site: Site) -> None:
    answer = ask(site, "POST", "captures", {"name": "x" * 70_000})
    assert refusal(answer) == (413, "http-413")


def test_a_body_where_none_is_taken(site: Site) -> None:
    assert refusal(ask(site, "DELETE", "captures/current", {"name": "x"})) == (400, "unknown-key")
    assert site.control.asked == []
    site.control.capture_start("x")
    assert ask(site, "DELETE", "captures/current", {}).status_code == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("status?x=1", "unknown-parameter"),
        ("streams?page=1&page=2", "repeated-parameter"),
        ("streams?page=0", "bad-value"),
        ("streams?page=-1", "bad-value"),
        ("streams?page=1.0", "bad-value"),
        ("streams?page=1_0", "bad-value"),
        ("streams?page=%C2%B2", "bad-value"),
        ("streams?page=", "bad-value"),
        ("streams?per_page=1001", "bad-value"),
        ("streams?page=99999999999999999999999999", "bad-value"),
        (f"streams/{S}/splits", "missing-key"),
        (f"streams/{S}/splits?view=split_2sec", "bad-value"),
        (f"streams/{S}/splits?View=split_1sec", "unknown-parameter"),
        ("openapi.json?x=1", "unknown-parameter"),
    ],
)
def test_a_parameter_that_is_wrong_is_refused(site: Site, path: str, code: str) -> None:
    answer = ask(site, "GET", path)
    assert refusal(answer) == (400, code)
    assert "Input should" not in answer.text
    assert "Value error" not in answer.text


def test_a_number_that_is_none_is_a_sentence(site: Site) -> None:
    answer = ask(site, "GET", "streams?page=1.0")
    assert answer.json["error"]["message"] == "page must be a whole number."


def test_parameters_against_caches_are_ignored(site: Site) -> None:
    assert ask(site, "GET", "status?rand=7&_=1").status_code == 200


@pytest.mark.parametrize("path", ["", "nothing", "streams/x/y", "captures/x", "routes/orders-db"])
def test_what_is_not_there_is_404(site: Site, path: str) -> None:
    assert refusal(ask(site, "GET", path)) == (404, "http-404")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "routes", "GET, HEAD"),
        ("POST", "routes", "GET, HEAD"),
        ("PATCH", "routes", "GET, HEAD"),
        ("DELETE", "routes", "GET, HEAD"),
        ("POST", "status", "GET, HEAD"),
        ("GET", "captures", "POST"),
        ("OPTIONS", "captures", "POST"),
        ("HEAD", "interfaces/cap0/attach", "POST"),
        ("DELETE", "schedule", "GET, HEAD, PUT"),
        ("GET", "interfaces/cap0/detach", "POST"),
    ],
)
def test_what_a_method_does_not_do_is_405(site: Site, method: str, path: str, allowed: str) -> None:
    answer = ask(site, method, path)
    assert answer.status_code == 405
    if method != "HEAD":
        assert refusal(answer) == (405, "http-405")
    assert answer.headers["Allow"] == allowed
    assert site.control.asked == []


def test_head_is_answered_where_get_is(site: Site) -> None:
    answer = ask(site, "HEAD", "streams")
    assert (answer.status_code, answer.data) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(ask(site, "GET", "streams").data)


def test_a_schedule_is_replaced_as_it_was_read(site: Site) -> None:
    empty = ask(site, "GET", "schedule")
    assert (empty.json["rows"], empty.headers["ETag"]) == ([], '"0"')
    put = ask(site, "PUT", "schedule", {"rows": [ROW]}, If_Match='"0"')
    assert (put.status_code, put.headers["ETag"]) == (200, '"1"')
    read = ask(site, "GET", "schedule")
    assert read.json == put.json
    (row,) = read.json["rows"]
    assert {key: row[key] for key in ROW} == ROW
    assert (row["enabled"], row["always"], row["managed"], row["state"]) == (
        True,
        False,
        False,
        "idle",
    )
    again = ask(site, "PUT", "schedule", read.json, If_Match=read.headers["ETag"])
    assert (again.status_code, again.json["revision"]) == (200, 2)
    assert again.json["rows"] == read.json["rows"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ('"1"', 200),
        ('"0", "1"', 200),
        ("*", 200),
        (None, 200),
        ('"0"', 412),
        ('W/"1"', 412),
        ('"x"', 412),
        (",", 412),
        ("", 412),
    ],
)
def test_only_the_schedule_that_was_edited_is_replaced(
    site: Site, header: str | None, status: int
) -> None:
    ask(site, "PUT", "schedule", {"rows": [ROW]})
    given = {} if header is None else {"If_Match": header}
    answer = ask(site, "PUT", "schedule", {"rows": []}, **given)
    assert answer.status_code == status
    if status == 412:
        assert refusal(answer) == (412, "schedule-changed")
    assert len(ask(site, "GET", "schedule").json["rows"]) == (0 if status == 200 else 1)


def test_a_schedule_that_changes_in_between_is_412(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(rows: Any, revision: int | None = None) -> Any:
        raise Conflict("It was changed meanwhile.", code="schedule-changed")

    monkeypatch.setattr(site.control, "schedule_put", put)
    answer = ask(site, "PUT", "schedule", {"rows": []}, If_Match='"0"')
    assert refusal(answer) == (412, "schedule-changed")


def test_a_row_of_the_settings_cannot_be_changed(site: Site) -> None:
    site.control.timetable["revision"] = 3
    site.control.refusal = Conflict("Row [x] stands in the settings.", code="schedule-managed")
    assert refusal(ask(site, "PUT", "schedule", {"rows": []})) == (409, "schedule-managed")


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({**ROW, "start": "25:00"}, "row 1 [nightly]: start is '25:00'"),
        ({**ROW, "name": ".x"}, "row 1: The capture's name"),
        ({**ROW, "days": ["someday"]}, "rows.0.days.0 must be 'mon', 'tue'"),
        ({**ROW, "days": "mon-fri"}, "rows.0.days"),
        ({**ROW, "enabled": 1}, "rows.0.enabled"),
        ({**ROW, "colour": "red"}, "rows.0.colour"),
        ({"name": "x"}, "row 1 [x]: days"),
        ({"name": "x", "always": True, "days": ["mon"]}, "is 24/7 and has days"),
    ],
)
def test_a_row_that_is_wrong_is_named(site: Site, row: dict[str, Any], word: str) -> None:
    answer = ask(site, "PUT", "schedule", {"rows": [row]})
    assert answer.status_code == 400
    assert word in answer.json["error"]["message"]


def test_routes_have_an_etag_that_counters_do_not_change(site: Site) -> None:
    first = ask(site, "GET", "routes")
    assert set(first.json["routes"][0]) == {
        "id",
        "name",
        "enabled",
        "client",
        "capture",
        "server",
        "egress",
        "modes",
        "ttl",
    }
    tag = first.headers["ETag"]
    site.control.now["routes"][0]["to_server"]["matched_packets"] += 1
    again = ask(site, "GET", "routes", If_None_Match=tag)
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    site.control.now["routes"][0]["enabled"] = False
    changed = ask(site, "GET", "routes", If_None_Match=tag)
    assert (changed.status_code, changed.headers["ETag"] == tag) == (200, False)


def test_a_time_range_under_its_newer_address(site: Site) -> None:
    between = f"TSBegin={STARTED_NS}&TSEnd={STARTED_NS + 10**9}"
    old = site.get(f"/pcap/timerange?{between}")
    assert ask(site, "GET", f"pcap/timerange?{between}").data == old.data
    assert refusal(ask(site, "GET", f"pcap/timerange?{between}&x=1")) == (400, "unknown-parameter")
    outside = ask(site, "GET", f"pcap/timerange?{between}", Range="bytes=999999-")
    assert refusal(outside) == (416, "bad-range")
    assert outside.headers["Content-Range"] == f"bytes */{len(old.data)}"


def test_the_roles_of_every_operation(site: Site) -> None:
    write_users(site.store, **{role.value: {"role": role.value} for role in Role})
    least = {
        "GET status": Role.VIEWER,
        "GET interfaces": Role.VIEWER,
        "GET system/time_current": Role.VIEWER,
        "GET system/version": Role.VIEWER,
        "GET streams": Role.VIEWER,
        f"GET streams/{S}": Role.VIEWER,
        f"GET streams/{S}/views": Role.VIEWER,
        f"GET streams/{S}/splits?view=split_1sec": Role.VIEWER,
        "GET captures/current": Role.VIEWER,
        "GET routes": Role.VIEWER,
        "GET openapi.json": Role.VIEWER,
        "GET schedule": Role.OPERATOR,
        "PUT schedule": Role.OPERATOR,
        "POST captures": Role.OPERATOR,
        "DELETE captures/current": Role.OPERATOR,
        "DELETE streams/x": Role.OPERATOR,
        "POST interfaces/cap0/attach": Role.ADMIN,
        "POST interfaces/cap0/detach": Role.ADMIN,
    }
    for operation, needed in least.items():
        method, path = operation.split(" ")
        for role in Role:
            answer = site.get(f"/api/v1/{path}", method=method, user=role.value)
            assert (answer.status_code == 403) is not role.may(needed), (operation, role)
            if answer.status_code == 403:
                assert refusal(answer) == (403, "role")


BROWSER = {"Sec-Fetch-Site": "same-origin"}


def page_token(client: Any) -> str:
    page = client.get("/capture").text
    return str(page.split('name="csrf_token" value="')[1].split('"')[0])


def test_a_session_needs_its_pages_token(site: Site) -> None:
    client = site.browser()
    assert client.get("/api/v1/status").status_code == 200
    bare = client.post("/api/v1/captures", json={"name": "x"}, headers=BROWSER)
    assert refusal(bare) == (400, "csrf-token")
    assert "X-CSRFToken" in bare.json["error"]["hint"]
    wrong = client.delete("/api/v1/captures/current", headers=BROWSER | {"X-CSRFToken": "x"})
    assert refusal(wrong) == (400, "csrf-token")
    assert site.control.asked == []
    ours = BROWSER | {"X-CSRFToken": page_token(client)}
    assert client.post("/api/v1/captures", json={"name": "x"}, headers=ours).status_code == 201
    assert client.delete("/api/v1/captures/current", headers=ours).status_code == 200


def test_a_password_needs_no_token(site: Site) -> None:
    assert ask(site, "POST", "captures", {"name": "x"}).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
    ],
)
def test_another_site_changes_nothing(site: Site, headers: dict[str, str]) -> None:
    answer = ask(site, "POST", "captures", {"name": "x"}, **headers)
    assert refusal(answer) == (403, "cross-site")
    client = site.browser()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent["X-CSRFToken"] = page_token(client)
    assert client.post("/api/v1/captures", json={"name": "x"}, headers=sent).status_code == 403
    assert site.control.asked == []


def test_without_a_login_there_is_401_in_the_same_shape(site: Site) -> None:
    client = site.app.test_client()
    for method, path in (("GET", "status"), ("POST", "captures"), ("GET", "nothing")):
        answer = client.open(f"/api/v1/{path}", method=method)
        assert refusal(answer) == (401, "http-401")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="fwdcap"'


def test_a_page_whose_session_has_ended_gets_no_dialog_of_the_browsers(site: Site) -> None:
    client = site.browser()
    write_users(site.store, "scrypt:1024:1:1$x$" + "0" * 128)
    answer = client.get("/api/v1/status")
    assert refusal(answer) == (401, "http-401")
    assert answer.headers["WWW-Authenticate"] == 'Session realm="fwdcap"'
