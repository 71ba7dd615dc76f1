"""The appliance in the lab, and the demo: from the start to the last trace gone."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path

import pytest

from fwdcap.errors import Unavailable
from fwdcap.lab import CAPTURE, CLIENT, SERVER, Appliance, Lab, namespaces
from fwdcap.lab.demo import show

MODES = ("ingress", "inline", "egress")


@pytest.fixture
def demo_name(lab_name: str) -> Iterator[str]:
    """Not `demo`: a person's own one is left alone."""
    name = f"{lab_name}-d"
    yield name
    Lab(name).down()


def run_demo(name: str, **options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "fwdcap", "lab", "demo", "--name", name, "--port", "0"]
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        env=options or None,
    )


class TestAppliance:
    def test_its_page_is_on_our_own_loopback(self, appliance: Appliance) -> None:
        with urllib.request.urlopen(f"{appliance.url}/healthz", timeout=5) as answer:
            assert answer.status == 200

    def test_its_password_is_the_one_given(self, appliance: Appliance) -> None:
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, appliance.url, appliance.user, appliance.password)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
        with opener.open(f"{appliance.url}/plain/list", timeout=5) as answer:
            assert answer.read().startswith(b"Filename")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{appliance.url}/plain/list", timeout=5)

    def test_it_relays(self, lab: Lab, appliance: Appliance) -> None:
        with lab.host("b").sniff(expression="icmp", direction="in") as sniff:
            said = lab.host("a").run(f"ping -c 2 -i 0.1 {CAPTURE}").stdout
        assert "2 received" in said
        assert [seen.data[26:34] for seen in sniff.frames] == [CAPTURE.packed + SERVER.packed] * 2
        assert appliance.client.status()["forwarding"]["packets"] >= 4

    def test_its_pins_are_the_labs(self, lab: Lab, appliance: Appliance) -> None:
        assert [directory.name.split("@")[0] for directory in lab.pins()] == ["cap0"]
        assert appliance.client.status()["datapath"]["state"] == "forwarding"

    def test_the_generic_lab_relays(self, lab_name: str) -> None:
        with Lab(f"{lab_name}-g", xdp="generic") as lab:
            appliance = lab.start_appliance(modes=[])
            assert appliance.client.status()["datapath"]["mode"] == "generic"
            assert "2 received" in lab.host("a").run(f"ping -c 2 -i 0.1 {CAPTURE}").stdout

    def test_down_removes_what_a_crash_left(self, lab_name: str) -> None:
        lab = Lab(f"{lab_name}-k").up()
        appliance = lab.start_appliance()
        appliance.client.capture_start("crash")
        inside = lab.namespaces
        appliance.stop(signal.SIGKILL)
        left = [Path(f"/proc/{pid}/comm").read_text() for pid in namespaces.processes(inside)]
        assert "fwdcap-recorder\n" in left
        pins = lab.pins()
        assert pins
        lab.down()
        assert namespaces.processes(inside) == []
        assert not [directory for directory in pins if directory.exists()]
        assert not lab.directory.exists()

    def test_one_that_fails_shows_its_log(self, lab_name: str) -> None:
        with (
            Lab(f"{lab_name}-f") as lab,
            pytest.raises(Unavailable, match="ended with exit code 1") as caught,
        ):
            lab.start_appliance(settings={"nonsense.key": "1"})
        assert "nonsense" in caught.value.hint

    def test_a_port_in_use_is_refused(self, lab: Lab) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            pytest.raises(Unavailable, match="is in use"),
        ):
            lab.start_appliance(port=taken.getsockname()[1])


class TestDemo:
    def test_it_shows_three_modes_and_leaves_the_appliance_running(self, demo_name: str) -> None:
        first, second = run_demo(demo_name), run_demo(demo_name)
        assert (first.returncode, first.stderr) == (0, "")
        assert (second.returncode, second.stderr) == (0, "")
        assert "an earlier demo" not in first.stdout
        assert "an earlier demo" in second.stdout
        shown = sections(second.stdout)
        assert f"IP {CLIENT} > {CAPTURE}: ICMP echo request" in shown["ingress"]
        assert f"IP {CLIENT} > {SERVER}: ICMP echo request" in shown["inline"]
        assert f"IP {CAPTURE} > {SERVER}: ICMP echo request" in shown["egress"]
        url = second.stdout.split("web page")[1].split()[0]
        with urllib.request.urlopen(f"{url}healthz", timeout=5) as answer:
            assert answer.status == 200

    def test_a_missing_tool_is_named(self, demo_name: str, tmp_path: Path) -> None:
        for tool in ("nsenter", "tcpdump", "ping"):
            (tmp_path / tool).symlink_to(str(shutil.which(tool)))
        refused = run_demo(demo_name, PATH=str(tmp_path), PYTHONPATH=":".join(sys.path))
        assert refused.returncode == 1
        assert refused.stderr.startswith("error: The lab needs curl, not found")

    def test_a_failure_ends_with_the_appliances_log(
        self, demo_name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        only_ingress = partialmethod(Lab.start_appliance, modes=["ingress"])
        monkeypatch.setattr(Lab, "start_appliance", only_ingress)
        with pytest.raises(Unavailable, match="holds no inline records") as caught:
            show(0, demo_name)
        assert "successfully stopped capture" in caught.value.hint


def sections(output: str) -> dict[str, str]:
    """What the demo shows of each mode."""
    return {mode: output.split(f"\n  {mode}: ")[1].split("\n\n")[0] for mode in MODES}
