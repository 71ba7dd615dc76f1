"""The daemon's verbs on a machine made up for them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from control_fakes import (
    ACCOUNTS,
    ROUTES,
    STARTED_NS,
    STREAM,
    Clock,
    FakeInterface,
    FakeMachine,
    eventually,
    service,
    settings,
)

from fwdcap import abi
from fwdcap.control.service import Service
from fwdcap.errors import Conflict, FwdcapError, Invalid, NotFound, Unavailable
from fwdcap.routes.model import RuleKey

if TYPE_CHECKING:
    from control_fixtures import Make

pytest_plugins = ["control_fixtures"]
pytestmark = pytest.mark.unit

TO_SERVER = RuleKey(0, IPv4Address("10.0.0.1"), IPv4Address("10.0.0.100"))
TO_CLIENT = RuleKey(0, IPv4Address("10.0.0.2"), IPv4Address("10.0.0.100"))


def test_a_start_applies_the_routes(make: Make, machine: FakeMachine) -> None:
    daemon = make()
    assert daemon.start() == ["Routes added: demo."]
    assert machine.paths["cap0"].table.keys() == {TO_SERVER, TO_CLIENT}
    path = daemon.status()["datapath"]
    assert (path["interface"], path["state"], path["mode"]) == ("cap0", "forwarding", "generic")
    assert (path["addresses"], path["link"], path["mtu"]) == (["10.0.0.100/24"], "up", 1500)


def test_a_restart_changes_nothing(make: Make, machine: FakeMachine) -> None:
    make().start()
    table = dict(machine.paths["cap0"].table)
    assert make().start() == []
    assert machine.paths["cap0"].table == table


def test_a_start_says_what_became_of_each_route(make: Make) -> None:
    make().start()
    assert make(routes=ROUTES.replace("inline", "egress")).start() == ["Routes changed: demo."]
    assert make(routes="").start() == ["Routes removed: demo."]


def test_bad_routes_are_refused_before_anything_is_touched(
    make: Make, machine: FakeMachine, tmp_path: Path
) -> None:
    elsewhere = ROUTES.replace("10.0.0.100", "10.0.0.101")
    with pytest.raises(Invalid, match=r"10\.0\.0\.101 is not an address of cap0"):
        make(routes=elsewhere)
    assert machine.paths == {}
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("wrong", ['client  = "10.0.0.2"', 'client  = "127.0.0.1"'])
def test_what_is_wrong_anywhere_is_refused_without_an_interface_too(make: Make, wrong: str) -> None:
    with pytest.raises(Invalid):
        make(interface="late0", routes=ROUTES.replace('client  = "10.0.0.1"', wrong))


def test_a_missing_routes_file_is_refused(tmp_path: Path, machine: FakeMachine) -> None:
    asked = settings(tmp_path)
    (tmp_path / "routes.toml").unlink()
    with pytest.raises(NotFound, match="no routes file"):
        Service(asked, machine, accounts=ACCOUNTS)


def test_without_an_interface_it_serves_and_says_so(make: Make) -> None:
    daemon = make(interface=None)
    daemon.start()
    path = daemon.status()["datapath"]
    assert (path["interface"], path["state"]) == (None, "none")
    assert path["why"] == "No capture interface is configured."
    with pytest.raises(Unavailable):
        daemon.capture_start("x")


def test_an_absent_interface_is_waited_for(make: Make, machine: FakeMachine) -> None:
    daemon = make(interface="late0")
    assert daemon.start() == ["Interface late0 is not there yet. Waiting for it."]
    assert daemon.status()["datapath"]["state"] == "waiting"
    assert daemon.tick() == []
    machine.plug("late0")
    assert daemon.tick()[0] == "Interface late0 is there now, attached to it."
    assert daemon.status()["datapath"]["state"] == "forwarding"


def test_an_interface_that_comes_without_its_address_is_waited_for_further(
    make: Make, machine: FakeMachine
) -> None:
    daemon = make(interface="late0")
    daemon.start()
    machine.interfaces["late0"] = FakeInterface("late0", addresses=())
    assert "is not an address of late0" in daemon.tick()[0]
    assert daemon.tick() == []  # said once
    assert "is not an address" in daemon.status()["datapath"]["why"]
    machine.plug("late0")
    assert daemon.tick()
    assert daemon.status()["datapath"]["state"] == "forwarding"


def test_an_interface_that_went_is_called_waiting(make: Make, machine: FakeMachine) -> None:
    daemon = make()
    daemon.start()
    del machine.interfaces["cap0"]
    path = daemon.status()["datapath"]
    assert (path["state"], path["why"]) == ("waiting", "Interface cap0 has gone.")


def test_a_capture_keeps_the_route_table(make: Make, tmp_path: Path) -> None:
    daemon = make()
    daemon.start()
    answer = daemon.capture_start("x")
    assert answer == {
        "name": "x",
        "stream": STREAM,
        "message": "successfully started capture [x]",
        "time_ns": STARTED_NS,
    }
    words = json.loads((tmp_path / "store" / "streams" / STREAM / "stream.json").read_text())
    assert [(route["id"], route["name"]) for route in words["routes"]] == [(1, "demo")]
    assert words["interface"] == "cap0"
    assert daemon.captures()["captures"][0]["stream"] == STREAM
    assert daemon.capture_stop()["message"] == "successfully stopped capture [x]"


def test_a_stream_is_deleted_once_it_is_not_recorded(make: Make, clock: Clock) -> None:
    clock.ns = time.time_ns()  # how long its name is held goes by the times of files
    daemon = make()
    daemon.start()
    stream = daemon.capture_start("x")["stream"]
    with pytest.raises(Conflict, match="being recorded"):
        daemon.stream_delete(stream)
    daemon.capture_stop()
    assert daemon.stream_delete(stream)["message"] == f"deleted stream [{stream}]"
    assert daemon.captures()["captures"] == []
    with pytest.raises(NotFound):
        daemon.stream_delete(stream)
    assert daemon.capture_start("x")["stream"] == f"{stream}-2"  # its name is still held


def test_what_housekeeping_has_to_say_is_a_warning(make: Make, tmp_path: Path) -> None:
    daemon = make()
    store = daemon.settings.store.model_copy(update={"archive": tmp_path / "nowhere"})
    daemon = Service(
        daemon.settings.model_copy(update={"store": store}),
        daemon._backend,
        accounts=ACCOUNTS,
    )
    daemon.start()
    eventually(lambda: "archive" in [warning["code"] for warning in daemon.status()["warnings"]])
    assert daemon.status()["store"]["archive"]["there"] is False
    assert any("is away" in line for line in daemon.tick())
    daemon.close()


def test_detach_stops_the_capture_first(make: Make, machine: FakeMachine) -> None:
    daemon = make()
    daemon.start()
    daemon.capture_start("x")
    answer = daemon.datapath_detach()
    assert answer["lines"] == ["successfully stopped capture [x]"]
    assert machine.paths["cap0"].detached
    status = daemon.status()
    assert (status["datapath"]["state"], status["capture"]["active"]) == ("detached", False)
    assert daemon.tick() == []  # it does not come back by itself


def test_a_detach_that_fails_half_way_leaves_nothing_to_be_asked(
    make: Make, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make()
    daemon.start()

    def broken() -> list[str]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(machine.paths["cap0"], "detach", broken)
    with pytest.raises(OSError, match="Input/output"):
        daemon.datapath_detach()
    assert daemon.status()["datapath"]["state"] == "detached"


def test_attach_after_detach(make: Make, machine: FakeMachine) -> None:
    daemon = make()
    daemon.start()
    daemon.datapath_detach()
    answer = daemon.datapath_attach("cap0")
    assert answer["message"].startswith("attached to cap0 in generic mode")
    assert machine.paths["cap0"].table.keys() == {TO_SERVER, TO_CLIENT}


def test_attach_refuses_what_is_not_there(make: Make) -> None:
    daemon = make(interface=None)
    daemon.start()
    with pytest.raises(NotFound, match="no interface nope0"):
        daemon.datapath_attach("nope0")
    assert daemon.status()["datapath"]["state"] == "none"


def test_attach_refuses_a_second_interface(make: Make, machine: FakeMachine) -> None:
    machine.plug("cap1")
    daemon = make()
    daemon.start()
    with pytest.raises(Conflict, match="attached to cap0"):
        daemon.datapath_attach("cap1")


def test_there_must_be_something_to_detach(make: Make) -> None:
    daemon = make(interface=None)
    daemon.start()
    with pytest.raises(Conflict, match="nothing to detach"):
        daemon.datapath_detach()


def test_only_the_interface_that_is_named_is_detached(make: Make, machine: FakeMachine) -> None:
    machine.plug("cap1")
    daemon = make()
    daemon.start()
    with pytest.raises(Conflict, match="attached to cap1, there is nothing to detach"):
        daemon.datapath_detach("cap1")
    assert not machine.paths["cap0"].detached
    daemon.datapath_detach("cap0")
    assert machine.paths["cap0"].detached


def test_interfaces_and_which_one_has_the_data_path(make: Make, machine: FakeMachine) -> None:
    machine.plug("another0")
    daemon = make()
    daemon.start()
    first, second = daemon.interfaces()["interfaces"]
    assert (first["name"], first["datapath"]) == ("another0", None)
    assert second == {
        "name": "cap0",
        "link": "up",
        "link_speed_mbit": 10_000,
        "mtu": 1500,
        "driver": "veth",
        "addresses": ["10.0.0.100/24"],
        "datapath": "forwarding",
    }
    daemon.datapath_detach()
    assert daemon.interfaces()["interfaces"][1]["datapath"] == "detached"


def test_two_daemons_do_not_share_an_interface(
    make: Make, machine: FakeMachine, clock: Clock, tmp_path: Path
) -> None:
    make().start()
    (tmp_path / "second").mkdir()
    second = service(tmp_path / "second", machine, clock)
    with pytest.raises(Conflict, match="Another fwdcap daemon has interface cap0"):
        second.start()


def test_what_an_earlier_daemon_left_on_another_interface_is_named(
    make: Make, machine: FakeMachine
) -> None:
    make().start()
    lines = make(interface=None).start()
    assert lines[-1].startswith("Interface cap0 still forwards since an earlier run")


def test_route_counters_are_those_of_its_two_rules(make: Make, machine: FakeMachine) -> None:
    daemon = make()
    daemon.start()
    counters = abi.RuleCounters(matched_packets=9, forwarded_packets=8, dropped_packets=1)
    counters.recorded_packets[1] = 7
    counters.lost_packets[2] = 2
    machine.paths["cap0"].counts[TO_SERVER] = counters
    (route,) = daemon.routes()["routes"]
    assert route["to_server"]["matched_packets"] == 9
    assert route["to_server"]["recorded_packets"] == {"ingress": 0, "inline": 7, "egress": 0}
    assert route["to_server"]["lost_packets"] == {"ingress": 0, "inline": 0, "egress": 2}
    assert route["to_client"]["matched_packets"] == 0
    assert (route["egress"], route["modes"]) == ("10.0.0.100", ["inline"])


def test_what_was_not_forwarded_is_counted_by_reason(make: Make, machine: FakeMachine) -> None:
    daemon = make()
    daemon.start()
    seen = machine.paths["cap0"].seen
    seen[abi.Reason.DROP_TTL] = 2
    seen[abi.Reason.DROP_SUPER_FRAME] = 3
    seen[abi.Reason.PASS_NO_ROUTE] = 4
    status = daemon.status()
    assert status["forwarding"]["dropped"] == 5
    assert status["forwarding"]["reasons"]["pass-no-route"] == 4
    assert "forwarded" not in status["forwarding"]["reasons"]
    assert [warning["code"] for warning in status["warnings"]] == ["super-frame"]


def test_a_warning_of_what_passed_ends_a_minute_after_its_cause(
    tmp_path: Path, machine: FakeMachine, clock: Clock
) -> None:
    daemon = service(tmp_path, machine, clock, monotonic_ns=clock)
    daemon.start()

    def warned() -> list[str]:
        return [warning["code"] for warning in daemon.status()["warnings"]]

    machine.paths["cap0"].seen[abi.Reason.DROP_NO_NEXT_HOP] += 1
    assert warned() == ["no-next-hop"]
    assert "dev cap0`" in daemon.status()["warnings"][0]["hint"]
    for _ in range(59):
        clock.pass_s(1)
        daemon.tick()
    assert warned() == ["no-next-hop"]
    for _ in range(20):
        clock.pass_s(1)
        daemon.tick()
    assert warned() == []
    assert daemon.status()["forwarding"]["reasons"]["drop-no-next-hop"] == 1
    daemon.close()
    later = service(tmp_path, machine, clock, monotonic_ns=clock)
    later.start()
    assert later.status()["warnings"] == []  # counted before it came
    later.close()


def test_a_route_over_the_gateway_is_warned_of(make: Make) -> None:
    daemon = make(routes=ROUTES.replace('"10.0.0.2"', '"10.0.0.254"'))
    daemon.start()
    assert [warning["code"] for warning in daemon.status()["warnings"]] == ["peer-is-gateway"]


def test_route_numbers_survive_and_are_never_reused(make: Make) -> None:
    make().start()
    make(routes=ROUTES.replace('"demo"', '"other"')).start()
    both = ROUTES + ROUTES.replace('"demo"', '"third"').replace('10.0.0.1"', '10.0.0.7"').replace(
        '10.0.0.2"', '10.0.0.8"'
    )
    daemon = make(routes=both)
    daemon.start()
    numbers = {route["name"]: route["id"] for route in daemon.routes()["routes"]}
    assert numbers == {"demo": 1, "third": 3}


def test_a_torn_file_of_route_numbers_is_refused(make: Make, tmp_path: Path) -> None:
    daemon = make()
    daemon.start()
    (tmp_path / "store" / "route_ids.json").write_text("{")
    with pytest.raises(Invalid, match="numbers of routes"):
        make().start()


def test_the_links_time_survives_a_restart_and_not_a_new_interface(
    make: Make, machine: FakeMachine, clock: Clock
) -> None:
    make().start()
    clock.pass_s(100)
    daemon = make()
    daemon.start()
    assert daemon.status()["datapath"]["link_since_ns"] == STARTED_NS
    machine.interfaces["cap0"] = replace(machine.interfaces["cap0"], up=False)
    daemon.tick()
    assert daemon.status()["datapath"]["link_since_ns"] == 0
    machine.plug("cap0")
    daemon.tick()
    assert daemon.status()["datapath"]["link_since_ns"] == STARTED_NS + 100 * 10**9


def test_a_tick_survives_what_goes_wrong_in_it(
    make: Make, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make()
    daemon.start()

    def broken() -> list[str]:
        raise FwdcapError("The kernel is in a bad mood.", code="mood")

    monkeypatch.setattr(machine.paths["cap0"], "tend", broken)
    assert daemon.tick() == ["The kernel is in a bad mood."]


def test_the_datapath_in_detail(make: Make) -> None:
    daemon = make()
    daemon.start()
    (path,) = daemon.datapath()["datapaths"]
    assert (path["rules"], path["ring_bytes"]) == (2, 1 << 20)
    assert path["pins"].endswith("cap0/g1")


def test_the_doctor_looks_at_the_running_daemon(make: Make) -> None:
    daemon = make()
    daemon.start()
    checks = {check["name"]: check for check in daemon.doctor()["checks"]}
    assert checks["xdp"]["message"].startswith("Attached to cap0 in generic mode")
    assert checks["interface"]["level"] == "ok"
