"""A daemon for web tests: answers like fwdcapd, records what it was asked."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control_fakes import OURSELVES
from flask import Flask
from flask.testing import FlaskClient
from store_builder import ROUTE, SECOND_NS, STARTED_NS
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from fwdcap.capture.rows import parse_rows
from fwdcap.control.people import People
from fwdcap.errors import Conflict, FwdcapError, NotFound
from fwdcap.store.names import not_found
from webui import create_app
from webui.logins import NONE, Logins

PASSWORD = "correct horse"
NOW_NS = STARTED_NS + 60 * SECOND_NS
# Cheap on purpose: the cost of the real one is not what these tests are about.
HASH = generate_password_hash(PASSWORD, method="scrypt:1024:1:1")


def cheap_hash(password: str) -> str:
    """As HASH."""
    return generate_password_hash(password, method="scrypt:1024:1:1")


def write_users(store: Path, password_hash: str = HASH, **others: dict[str, Any]) -> None:
    """users.json as `fwdcap run` writes it; `others` are entries by name, same password."""
    users = {"fwdcap": {"hash": password_hash, "role": "admin"}}
    users |= {name: {"hash": HASH, **entry} for name, entry in others.items()}
    (store / "users.json").write_text(json.dumps({"users": users}))


def way(packets: int, dropped: int = 0, lost: int = 0) -> dict[str, Any]:
    """One direction of a route, all of it recorded inline."""
    return {
        "matched_packets": packets + dropped,
        "matched_bytes": (packets + dropped) * 64,
        "forwarded_packets": packets,
        "forwarded_bytes": packets * 64,
        "dropped_packets": dropped,
        "recorded_packets": {"ingress": 0, "inline": packets - lost, "egress": 0},
        "lost_packets": {"ingress": 0, "inline": lost, "egress": 0},
    }


def idle_status() -> dict[str, Any]:
    """fwdcapd's /status: forwarding, nothing captured yet."""
    return {
        "version": "0.1.0",
        "time_ns": NOW_NS,
        "zone": "UTC",
        "datapath": {
            "interface": "cap0",
            "state": "forwarding",
            "mode": "native",
            "why": "The driver of cap0 (ena) runs XDP programs itself.",
            "addresses": ["10.0.1.166"],
            "link": "up",
            "link_speed_mbit": 10000,
            "link_since_ns": NOW_NS - (3 * 3600 + 36 * 60) * SECOND_NS,
            "mtu": 1500,
            "driver": "ena",
            "ring_used_bytes": 4096,
            "ring_bytes": 1 << 20,
        },
        "forwarding": {
            "packets": 466254,
            "bytes": 31705286,
            "dropped": 0,
            "reasons": {"forwarded": 466254, "pass-no-route": 812, "drop-ttl": 0},
        },
        "routes": [{**ROUTE, "ttl": "keep", "to_server": way(300000), "to_client": way(166254)}],
        "capture": {
            "active": False,
            "name": None,
            "stream": None,
            "started_ns": None,
            "stopped_ns": None,
            "schedule": None,
            "caps": {},
            "snaplen": None,
            "continues": None,
            "ended": None,
            "received_packets": 0,
            "error_packets": 0,
            "emitted_records": 0,
            "emitted_bytes": 0,
            "committed_records": 0,
            "committed_bytes": 0,
            "pending_bytes": 0,
            "lost_records": 0,
            "lost": {"ring-full": 0, "copy": 0, "disk": 0, "unknown": 0},
            "losses": [],
            "bps": 0,
            "pps": 0,
            "recorder": "none",
            "message": "",
        },
        "store": {
            "used_bytes": 33742389248,
            "free_bytes": 1 << 40,
            "total_bytes": 1 << 41,
            "archive": None,
        },
        "uptime_s": 3 * 3600 + 36 * 60 + 12,
        "warnings": [],
    }


class FakeControl:
    """fwdcap.control.client.Client without a daemon behind it."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.now = idle_status()
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: FwdcapError | None = None
        self.questions = 0
        self.on_start: Callable[[str], None] = lambda name: None
        self.timetable: dict[str, Any] = {"revision": 0, "zone": "UTC", "roll": "00:00", "rows": []}
        self.people = People(store, OURSELVES, utc_ns=lambda: NOW_NS, hash_of=cheap_hash)
        self.events: list[dict[str, Any]] = []
        self.pam: dict[tuple[str, str], list[str]] = {}

    def status(self) -> dict[str, Any]:
        self.questions += 1
        if self.refusal is not None:
            raise self.refusal
        return copy.deepcopy(self.now)

    def capture_start(
        self, name: str, snaplen: int | None = None, **caps: int | None
    ) -> dict[str, Any]:
        self.asked.append(("start", name, snaplen, caps) if caps else ("start", name, snaplen))
        if self.refusal is not None:
            raise self.refusal
        if self.now["capture"]["active"]:
            raise Conflict(
                f"A capture is already running: [{self.now['capture']['name']}].",
                code="already-capturing",
                hint="Stop it first.",
            )
        stream = f"{name}_20150620_1128"
        self.now["capture"] |= {
            "active": True,
            "name": name,
            "stream": stream,
            "started_ns": STARTED_NS,
            "stopped_ns": None,
            "recorder": "running",
        }
        self.on_start(stream)
        return self._answer(f"successfully started capture [{name}]")

    def capture_stop(self) -> dict[str, Any]:
        self.asked.append(("stop",))
        if self.refusal is not None:
            raise self.refusal
        if not self.now["capture"]["active"]:
            raise Conflict("No capture is running.", code="not-capturing", hint="Start one first.")
        self.now["capture"] |= {"active": False, "stopped_ns": NOW_NS, "recorder": "none"}
        return self._answer(f"successfully stopped capture [{self.now['capture']['name']}]")

    def stream_delete(self, stream: str) -> dict[str, Any]:
        self.asked.append(("delete", stream))
        if self.refusal is not None:
            raise self.refusal
        capture = self.now["capture"]
        if capture["active"] and capture["stream"] == stream:
            raise Conflict(f"Stream {stream} is being recorded.", code="stream-recording")
        directory = self.store / "streams" / stream
        if not directory.is_dir():
            raise not_found(stream)
        shutil.rmtree(directory)
        return {"stream": stream, "message": f"deleted stream [{stream}]"}

    def schedule(self) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        return copy.deepcopy(self.timetable)

    def schedule_put(
        self, rows: list[dict[str, Any]], revision: int | None = None
    ) -> dict[str, Any]:
        self.asked.append(("schedule", rows, revision))
        if self.refusal is not None:
            raise self.refusal
        said = {"managed": False, "state": "idle", "until_ns": None, "next_ns": NOW_NS}
        parsed = [row.to_dict() | said | {"message": ""} for row in parse_rows(rows)]
        self.timetable |= {"revision": self.timetable["revision"] + 1, "rows": parsed}
        return self.schedule()

    def routes(self) -> dict[str, Any]:
        return {"routes": self.status()["routes"]}

    def interfaces(self) -> dict[str, Any]:
        now = self.status()["datapath"]
        shown = ("link", "link_speed_mbit", "mtu", "driver", "addresses")
        state = None if now["state"] == "none" else now["state"]
        return {
            "interfaces": [{"name": "cap0", "datapath": state, **{key: now[key] for key in shown}}]
        }

    def datapath_attach(self, interface: str) -> dict[str, Any]:
        self.asked.append(("attach", interface))
        if self.refusal is not None:
            raise self.refusal
        if interface != "cap0":
            raise NotFound(f"There is no interface {interface} on this machine.", code="x")
        self.now["datapath"] |= {"state": "forwarding", "mode": "native"}
        return {"interface": interface, "message": f"attached to {interface}", "lines": []}

    def datapath_detach(self, interface: str | None = None) -> dict[str, Any]:
        self.asked.append(("detach", interface))
        if self.refusal is not None:
            raise self.refusal
        if interface != "cap0" or self.now["datapath"]["state"] != "forwarding":
            raise Conflict("No data path is attached.", code="not-attached")
        self.now["datapath"] |= {"state": "detached", "mode": None}
        return {"interface": interface, "message": f"detached from {interface}", "lines": []}

    def users(self) -> dict[str, Any]:
        return self.people.users()

    def user_add(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.people.user_add(body)

    def user_set(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.people.user_set(name, body)

    def user_remove(self, name: str) -> dict[str, Any]:
        return self.people.user_remove(name)

    def tokens(self) -> dict[str, Any]:
        return self.people.tokens()

    def token_add(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.people.token_add(body)

    def token_set(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.people.token_set(name, body)

    def token_remove(self, name: str) -> dict[str, Any]:
        return self.people.token_remove(name)

    def audit(self, last: int) -> dict[str, Any]:
        return {"events": self.events[-last:][::-1]}

    def audit_report(self, event: Mapping[str, str]) -> dict[str, Any]:
        self.events.append({"time_ns": NOW_NS, **event})
        return {}

    def pam_login(self, name: str, password: str) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        groups = self.pam.get((name, password))
        return {"right": groups is not None, "groups": groups or []}

    def count(self, packets: int, size: int = 64, lost: int = 0) -> None:
        """Lets a running capture have seen so many packets."""
        self.now["capture"] |= {
            "received_packets": packets + lost,
            "emitted_records": packets,
            "emitted_bytes": packets * size,
            "committed_records": packets,
            "committed_bytes": packets * size,
            "lost_records": lost,
            "lost": {"ring-full": lost, "copy": 0, "disk": 0, "unknown": 0},
            "bps": 7_726_900_224,
            "pps": 14_203_859,
        }

    def _answer(self, message: str) -> dict[str, Any]:
        capture = self.now["capture"]
        return {
            "name": capture["name"],
            "stream": capture["stream"],
            "message": message,
            "time_ns": NOW_NS,
        }


@dataclass
class Site:
    """An application over a store of its own, and clients for it."""

    store: Path
    control: FakeControl
    app: Flask
    now: list[float]

    def get(
        self, url: str, *, method: str = "GET", user: str = "fwdcap", **headers: str
    ) -> TestResponse:
        """A request with the right password; `url` is sent as it stands."""
        path, _, query = url.partition("?")
        return self.app.test_client().open(
            path,
            method=method,
            query_string=query,
            auth=(user, PASSWORD),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    def told(self, what: str = "") -> list[tuple[str, str, str, str]]:
        """Who, what, target and result of what the audit log was told so far."""
        assert self.app.extensions["fwdcap"].reports.flush(10)
        keys = ("who", "what", "target", "result")
        events = [tuple(event[key] for key in keys) for event in self.control.events]
        return [event for event in events if not what or event[1] == what]  # type: ignore[misc]

    def browser(self, *, login: bool = True, user: str = "fwdcap") -> FlaskClient:
        """A client with a session cookie, as a browser has it."""
        client = self.app.test_client()
        if login:
            answer = post(client, "/login", name=user, password=PASSWORD)
            assert answer.status_code == 303, answer.text
        return client


def make_site(store: Path, zone: str = "UTC", logins: Logins = NONE) -> Site:
    """An application on an empty store at `store`, its clocks standing still."""
    write_users(store)
    control, now = FakeControl(store), [100.0]
    app = create_app(
        store, control, zone, now_ns=lambda: NOW_NS, clock=lambda: now[0], logins=logins
    )
    return Site(store, control, app, now)


def post(client: FlaskClient, url: str, **form: str) -> TestResponse:
    """A form of one of our own pages, with the token that page holds."""
    page = client.get("/login" if url == "/login" else "/capture").text
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page
    return client.post(url, data={**form, "csrf_token": found[1]})
