"""`fwdcap doctor` in the lab: what it finds on a sound box, and on one with unsound senders."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from disks import disk
from product import wait_until

from fwdcap.lab import CAPTURE, Appliance, Lab, namespaces

NOWHERE = "/nowhere/control.sock"
_UDP_SEGMENT = 103  # <linux/udp.h>
SEGMENT_BYTES = 1400

Running = tuple[Lab, Appliance]


@pytest.fixture(scope="module", params=["native", "generic"])
def running(request: pytest.FixtureRequest, lab_name: str) -> Iterator[Running]:
    with Lab(f"{lab_name}-{request.param[0]}", xdp=request.param) as lab:
        yield lab, lab.start_appliance()


def fwdcap(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "fwdcap", *arguments]
    return lab.host("c").run(words, check=False, timeout_s=30)


def checks(lab: Lab, control: object, *arguments: str) -> dict[str, dict[str, str]]:
    """The findings by name."""
    done = fwdcap(lab, "--control", str(control), "--json", "doctor", *arguments)
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    failed = any(check["level"] == "failure" for check in answer["checks"])
    assert done.returncode == failed
    return {check["name"]: check for check in answer["checks"]}


def test_a_sound_box(running: Running) -> None:
    lab, appliance = running
    found = checks(lab, appliance.control)
    mode = lab.topology.xdp
    why = {"native": "driver veth has native XDP", "generic": "generic mode was asked for"}[mode]
    assert found["xdp"]["message"] == f"Attached to cap0 in {mode} mode: {why}."
    assert found["kernel"]["message"].startswith("Linux ")
    assert found["addresses"]["message"] == f"cap0 has {CAPTURE}/24."
    assert "driver veth, MTU 1500" in found["interface"]["message"]
    assert "mgmt0 shares a subnet with cap0" in found["arp"]["message"]
    assert f"free for the store {appliance.store}" in found["space"]["message"]
    assert {name for name, check in found.items() if check["level"] == "failure"} == set()
    sound = {"kernel", "bpffs", "btf", "privileges", "programs", "interface", "addresses", "xdp"}
    sound |= {"arp", "o_direct", "fallocate", "routes"}
    assert {name: found[name]["level"] for name in sound} == dict.fromkeys(sound, "ok")


def test_people_get_a_line_each(running: Running) -> None:
    lab, appliance = running
    done = fwdcap(lab, "--control", str(appliance.control), "doctor")
    found = appliance.client.doctor()["checks"]
    for check, line in zip(found, done.stdout.splitlines(), strict=True):
        assert line.split()[:2] == [{"ok": "ok", "warning": "warn"}[check["level"]], check["name"]]
        if check["name"] != "space":  # which may change between two looks
            assert check["message"] in line


def switch(lab: Lab, state: str) -> None:
    """Checksum and segmentation offload of A, and of the last port on its way to cap0.

    Without the port's the bridge would finish A's work before cap0 sees it.
    """
    what = ["tx", state, "gso", state, "tso", state, "tx-udp-segmentation", state]
    lab.host("a").run(["ethtool", "-K", "eth0", *what])
    words = namespaces.command(lab.bridge_namespace, ["ethtool", "-K", "c-cap0", *what])
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def careless_sender(running: Running) -> Iterator[Running]:
    lab, appliance = running
    assert "offloads" not in checks(lab, appliance.control)
    switch(lab, "on")
    yield running
    switch(lab, "off")


def reason(appliance: Appliance, name: str) -> int:
    return int(appliance.client.status()["forwarding"]["reasons"][name])


def test_a_sender_s_offloads_are_seen_and_named(careless_sender: Running) -> None:
    lab, appliance = careless_sender
    with lab.host("a").socket() as sender:
        sender.connect((str(CAPTURE), 9))
        for _ in range(10):
            sender.send(b"a checksum for hardware to finish")
    wait_until(lambda: reason(appliance, "note-unfinished-checksum") >= 10, "the count")
    warnings = {warning["code"]: warning for warning in appliance.client.status()["warnings"]}
    assert "tx off" in warnings["unfinished-checksum"]["hint"]
    found = checks(lab, appliance.control)
    assert found["offloads"]["level"] == "failure"
    if lab.topology.xdp == "generic":  # native XDP on veth makes the peer cut frames itself
        assert_super_frames_are_dropped(lab, appliance)


def assert_super_frames_are_dropped(lab: Lab, appliance: Appliance) -> None:
    with lab.host("a").socket() as sender:
        sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, SEGMENT_BYTES)
        sender.connect((str(CAPTURE), 9))
        sender.send(bytes(10 * SEGMENT_BYTES))
    wait_until(lambda: reason(appliance, "drop-super-frame") == 1, "the count")
    done = fwdcap(lab, "--control", str(appliance.control), "doctor")
    assert done.returncode == 1
    assert "Frames larger than the MTU arrive and are dropped." in done.stdout
    assert "tso off gso off" in done.stdout


def test_without_a_daemon(running: Running) -> None:
    """A driver without native XDP: attached in generic mode, and doctor says why."""
    lab, _ = running
    c = lab.host("c")
    c.run("ip link add plain0 type bridge")
    c.run("ip link set plain0 up")
    named = ("--set", "interface.name=plain0", "--set", f"store.path={lab.directory}/other")
    before = checks(lab, NOWHERE, *named)
    assert before["xdp"]["level"] == "warning"
    assert "no IPv4 address" in before["addresses"]["message"]
    assert before["addresses"]["level"] == "failure"
    c.run("ip address add 192.0.2.1/24 dev plain0")
    attach = fwdcap(lab, "--control", NOWHERE, "datapath", "attach", "plain0", *named[2:])
    assert attach.returncode == 0, attach.stderr
    after = checks(lab, NOWHERE, *named)
    assert "generic mode: driver bridge refuses native XDP" in after["xdp"]["message"]
    assert after["addresses"]["message"] == "plain0 has 192.0.2.1/24."
    assert fwdcap(lab, "--control", NOWHERE, "datapath", "detach", "plain0").returncode == 0
    c.run("ip link del plain0")


def test_a_store_without_direct_writes(running: Running) -> None:
    lab, _ = running
    slow = lab.directory / "slow"
    slow.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "slow", slow], check=True)
    try:
        found = checks(lab, NOWHERE, "--set", f"store.path={slow}")
    finally:
        subprocess.run(["umount", slow], check=True)
        slow.rmdir()
    assert found["o_direct"]["level"] == "warning"
    assert "O_DIRECT" in found["o_direct"]["message"]
    assert "ext4 or XFS" in found["o_direct"]["hint"]


@pytest.mark.parametrize(("kind", "level"), [("ext2", "warning"), ("ext4", "ok")])
def test_a_store_that_cannot_reserve_space(running: Running, kind: str, level: str) -> None:
    lab, _ = running
    with disk(lab.directory / kind, 32_000_000, kind) as store:
        found = checks(lab, NOWHERE, "--set", f"store.path={store}")
    assert found["fallocate"]["level"] == level
    assert found["o_direct"]["level"] == "ok"
