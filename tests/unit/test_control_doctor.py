"""The doctor's findings, from made-up readings and from this machine's own disk."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from control_fakes import (
    ACCOUNTS,
    ROUTES,
    Clock,
    FakeInterface,
    FakeMachine,
    service,
    settings,
)

from fwdcap import abi
from fwdcap.capture import accounts
from fwdcap.capture.accounts import Accounts
from fwdcap.capture.notice import Notice
from fwdcap.control import diskprobe, doctor, host
from fwdcap.control.kernel import View
from fwdcap.control.offline import Offline
from fwdcap.control.recent import Seen
from fwdcap.routes.model import RuleKey

pytestmark = pytest.mark.unit

CAP0 = FakeInterface("cap0")


def levels(checks: object) -> dict[str, str]:
    return {check.name: check.level for check in checks}  # type: ignore[attr-defined]


def test_kernel() -> None:
    assert doctor.kernel("6.1.0").level == "ok"
    assert doctor.kernel("5.15.0").level == "failure"


def test_bpffs_is_looked_for_in_the_mounts() -> None:
    assert doctor.bpffs("none /sys/fs/bpf bpf rw 0 0\n").level == "ok"
    assert doctor.bpffs("none /sys/fs/cgroup cgroup2 rw 0 0\n").level == "warning"


def test_types_privileges_and_programs() -> None:
    assert doctor.btf(True).level == "ok"
    assert doctor.btf(False).level == "failure"
    assert doctor.privileges(0).level == "failure"
    assert doctor.built([]).level == "ok"
    assert "fwdcap-recorder" in doctor.built(["fwdcap-recorder"]).message


def test_an_interface_that_is_fine() -> None:
    checks = list(doctor.interface("cap0", CAP0))
    assert levels(checks) == {"interface": "ok", "addresses": "ok"}
    assert "10.0.0.100/24" in checks[1].message


def test_no_interface_is_a_warning_and_an_absent_one_a_failure() -> None:
    assert levels(doctor.interface(None, None)) == {"interface": "warning"}
    assert levels(doctor.interface("cap0", None)) == {"interface": "failure"}


def test_a_link_that_is_down_and_has_no_address() -> None:
    checks = doctor.interface("cap0", FakeInterface("cap0", up=False, addresses=()))
    assert levels(checks) == {"interface": "ok", "link": "failure", "addresses": "failure"}


def test_amazons_driver_with_jumbo_frames() -> None:
    assert "mtu" in levels(doctor.interface("e", FakeInterface("e", mtu=9001, driver="ena")))
    assert "mtu" not in levels(doctor.interface("e", FakeInterface("e", mtu=3498, driver="ena")))


@pytest.mark.parametrize(
    ("view", "level", "said"),
    [
        (View("forwarding", "cap0", "as asked", "native"), "ok", "native mode: as asked."),
        (View("waiting", "cap0", "It is not there."), "warning", "Not attached: It is not there."),
        (View("detached", "cap0"), "warning", "Nothing is attached to cap0."),
    ],
)
def test_how_it_is_attached(view: View, level: str, said: str) -> None:
    (check,) = doctor.xdp(view)
    assert check.level == level
    assert check.message.endswith(said)


def test_offloads_show_in_the_counters() -> None:
    reasons = {abi.Reason.NOTE_UNFINISHED_CHECKSUM: 4, abi.Reason.DROP_NO_NEXT_HOP: 1}
    checks = list(doctor.traffic(Seen(reasons=reasons), "cap0"))
    assert levels(checks) == {"offloads": "failure", "next-hop": "warning"}
    assert checks[1].hint.endswith("`ip route add SUBNET via GATEWAY dev cap0`.")


@pytest.mark.parametrize(("matched", "looks", "told"), [(10**6, 40, False), (10**6, 100, True)])
def test_a_checksum_that_looks_unfinished_by_chance_is_no_news(
    matched: int, looks: int, told: bool
) -> None:
    key = RuleKey(0, IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"))
    view = View(
        "forwarding",
        counters={key: abi.RuleCounters(matched_packets=matched)},
        reasons={abi.Reason.NOTE_UNFINISHED_CHECKSUM: looks},
    )
    assert bool(list(doctor.traffic(Seen.of(view), "cap0"))) is told
    assert list(doctor.traffic(Seen(), "cap0")) == []


def test_two_interfaces_in_one_subnet() -> None:
    assert levels(doctor.neighbourhood("cap0", ["eth0"], 0)) == {"arp": "warning"}
    assert levels(doctor.neighbourhood("cap0", ["eth0"], 1)) == {"arp": "ok"}
    assert list(doctor.neighbourhood("cap0", [], 0)) == []


def test_the_store_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    checks = levels(doctor.store(tmp_path))
    assert {"space", "o_direct", "fallocate"} <= checks.keys()
    assert list(tmp_path.iterdir()) == []


def test_a_store_to_be_made_is_tried_where_it_will_be(tmp_path: Path) -> None:
    checks = levels(doctor.store(tmp_path / "a" / "b"))
    assert checks["store"] == "warning"
    assert "space" in checks
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = diskprobe.Abilities(problem="Read-only file system")
    monkeypatch.setattr(diskprobe, "probe", lambda place: found)
    assert levels(doctor.store(tmp_path)) == {"store": "failure"}


def test_a_file_system_without_direct_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    assert not diskprobe.probe(tmp_path).direct
    assert list(tmp_path.iterdir()) == []


def test_a_missing_user_is_replaced_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (notice, _) = accounts.lookup("no-such-web", "no-such-recorder").notices
    assert notice.message == "There is no user no-such-web; it runs as `nobody` instead."


def test_missing_users_and_zones_are_named() -> None:
    missing = Accounts(ACCOUNTS.web, ACCOUNTS.recorder, (Notice("user-missing", "No x.", "Do."),))
    assert levels(doctor.users(missing)) == {"users": "warning"}
    assert levels(doctor.users(ACCOUNTS)) == {"users": "ok"}
    assert doctor.time_zone("UTC").level == "ok"
    assert doctor.time_zone("Mars/Olympus").level == "failure"


def test_everything_without_a_daemon(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.plug("cap0")
    checks = Offline(settings(tmp_path), machine).doctor()["checks"]
    assert [check["name"] for check in checks[:5]] == [
        "kernel",
        "bpffs",
        "btf",
        "privileges",
        "programs",
    ]
    assert all(check["message"].endswith(".") for check in checks)


def examined(root: Path, machine: FakeMachine, **of: str) -> dict[str, dict[str, str]]:
    checks = Offline(settings(root, **of), machine).doctor()["checks"]
    return {check["name"]: check for check in checks}


def test_clients_and_servers_need_a_route_through_the_interface(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.plug("cap0")
    assert examined(tmp_path, machine)["routes"]["level"] == "ok"
    machine.unreachable = {IPv4Address("10.0.0.2")}
    found = examined(tmp_path, machine)["routes"]
    assert found["level"] == "failure"
    assert found["message"] == (
        "Route demo: this machine has no route to server 10.0.0.2 through cap0."
    )
    assert found["hint"] == "`ip route add 10.0.0.2 via GATEWAY dev cap0`."
    disabled = ROUTES + "enabled = false\n"
    assert "routes" not in examined(tmp_path, machine, routes=disabled)


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        (ROUTES.replace("10.0.0.100", "10.0.0.101"), "10.0.0.101 is not an address of cap0"),
        (ROUTES.replace("10.0.0.2", "10.0.0.1"), "client and server are both"),
        ("nonsense", "routes.toml"),
    ],
)
def test_routes_that_would_be_refused_are_a_finding(tmp_path: Path, routes: str, said: str) -> None:
    machine = FakeMachine(tmp_path)
    machine.plug("cap0")
    found = examined(tmp_path, machine, routes=routes)["routes"]
    assert found["level"] == "failure"
    assert said in found["message"]


def test_an_interface_of_a_running_daemon_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "effective_capabilities", lambda: -1)
    machine = FakeMachine(tmp_path)
    machine.plug("cap0")
    daemon = service(tmp_path, machine, Clock())
    daemon.start()
    found = examined(tmp_path, machine)
    assert found["xdp"]["message"] == "Another fwdcap daemon has interface cap0."
    assert found["routes"]["level"] == "ok"
    daemon.close()
