"""Bad input through the real command: one sentence, the right exit code, nothing touched.

Every case runs on a box that was never attached, and none may change that.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from product import Pages, Refused, wait_until
from pyroute2 import IPRoute

from fwdcap.datapath import libbpf
from fwdcap.lab import CAPTURE, CLIENT, MANAGEMENT, SERVER, STRANGER, Appliance, Lab
from fwdcap.lab.wiring import PASS_OBJECT

GOOD = {"name": "one", "client": CLIENT, "capture": CAPTURE, "server": SERVER}
NOBODY = "65534"


def route(modes: str = '["inline"]', **changes: Any) -> str:
    """One [[route]] table: the good one but for `changes`; None leaves a key out."""
    keys = {key: f'"{value}"' for key, value in {**GOOD, **changes}.items() if value is not None}
    lines = [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(["[[route]]", *lines, f"modes = {modes}", ""])


@pytest.fixture(scope="module")
def bare(lab_name: str) -> Iterator[Lab]:
    with Lab(lab_name) as lab:
        yield lab


@pytest.fixture(autouse=True)
def untouched(request: pytest.FixtureRequest) -> Iterator[None]:
    """The module's lab is as it was built, whatever was refused."""
    yield
    if "bare" not in request.fixturenames:
        return
    lab = request.getfixturevalue("bare")
    c = lab.host("c")
    assert lab.pins() == []
    assert "\n5:" not in c.run("ip rule").stdout
    assert " xdp" not in c.run("ip link show cap0").stdout
    assert c.run("cat /proc/sys/net/ipv4/conf/cap0/forwarding").stdout == "0\n"
    assert c.run("cat /proc/sys/net/ipv4/conf/mgmt0/arp_ignore").stdout == "0\n"


def fwdcap(
    lab: Lab, *arguments: str, inside: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """The command on host c; `inside` is a command line that runs it."""
    words = [*inside, sys.executable, "-m", "fwdcap", *arguments]
    return lab.host("c").run(words, check=False, timeout_s=30)


def run(
    lab: Lab, *arguments: str, inside: tuple[str, ...] = (), interface: str = "cap0"
) -> subprocess.CompletedProcess[str]:
    """`fwdcap run` with everything of its own below the lab's directory."""
    own = ["--store", f"{lab.directory}/store", "--control", f"{lab.directory}/control.sock"]
    own += ["--interface", interface, "--listen", "127.0.0.1:0", "--set", "ring.bytes=1048576"]
    return fwdcap(lab, "run", *own, *arguments, inside=inside)


def assert_refused(done: subprocess.CompletedProcess[str], *words: object, code: int = 1) -> None:
    """One line on stderr that has these words; nothing on stdout."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert str(word) in line


ROUTES = {
    "unknown key": (route().replace("modes", "mode"), ["route one", "unknown key mode", "modes"]),
    "bad address": (route(client="10.77.0.999"), ["route one", "client", "10.77.0.999"]),
    "no address": (route(server="b.example"), ["route one", "server", "b.example"]),
    "not IPv4": (route(server="2001:db8::1"), ["route one", "server", "IPv6"]),
    "key missing": (route(server=None), ["route one", "server is missing"]),
    "bad mode": (route('["online"]'), ["route one", "online", "not a mode"]),
    "bad TOML": ("[[route]\n", ["not valid TOML", "line 1"]),
    "duplicate name": (route() + route(client=STRANGER), ["route one", "same name"]),
    "shared forward key": (
        route() + route(name="two", server=STRANGER),
        ["one", "two", "same client", CLIENT, CAPTURE, "another capture address"],
    ),
    "shared return key": (
        route() + route(name="two", client=STRANGER),
        ["one", "two", "same server", SERVER, CAPTURE, "another egress address"],
    ),
    "one's forward is another's return": (
        route() + route(name="two", client=STRANGER, server=CLIENT),
        ["one", "two", CLIENT, CAPTURE],
    ),
    "capture elsewhere": (
        route(capture="10.77.0.101"),
        ["route one", "capture 10.77.0.101", "not an address of cap0", CAPTURE],
    ),
    "capture on another interface": (
        route(capture=MANAGEMENT),
        ["route one", f"capture {MANAGEMENT}", "another interface"],
    ),
    "egress elsewhere": (
        route(egress="10.77.0.101"),
        ["route one", "egress 10.77.0.101", "not an address of cap0"],
    ),
    "client is server": (route(server=CLIENT), ["route one", "client", "server", CLIENT]),
    "loop": (route(server=MANAGEMENT), ["route one", f"server {MANAGEMENT}", "loop"]),
    "client is ours": (route(client=MANAGEMENT), ["route one", f"client {MANAGEMENT}"]),
    "multicast": (route(server="224.0.0.1"), ["route one", "server 224.0.0.1", "multicast"]),
    "broadcast": (route(server="10.77.0.255"), ["route one", "10.77.0.255", "broadcast"]),
    "loopback": (route(client="127.0.0.1"), ["route one", "client 127.0.0.1"]),
}


@pytest.mark.parametrize(("text", "words"), ROUTES.values(), ids=ROUTES)
def test_routes(bare: Lab, text: str, words: list[object]) -> None:
    file = bare.directory / "routes.toml"
    file.write_text(text)
    assert_refused(run(bare, "--routes", str(file)), file, *words)


SETTINGS = {
    "unknown key": ('[store]\npaths = "/x"\n', ["unknown key paths", "[store]", "path"]),
    "unknown table": ('[stores]\npath = "/x"\n', ["stores"]),
    "bad value": ('[interface]\nxdp = "fast"\n', ["[interface] xdp", "fast", "generic"]),
    "bad type": ('[store]\nsnaplen = "64"\n', ["[store] snaplen"]),
    "bad TOML": ("[store\n", ["TOML"]),
}


@pytest.mark.parametrize(("text", "words"), SETTINGS.values(), ids=SETTINGS)
def test_settings(bare: Lab, text: str, words: list[object]) -> None:
    file = bare.directory / "bad.toml"
    file.write_text(text)
    assert_refused(run(bare, "--config", str(file)), file, *words)


ARGUMENTS = {
    "no routes file": (["--routes", "/nowhere/routes.toml"], ["no routes file", "/nowhere"]),
    "no settings file": (["--config", "/nowhere/fwdcap.toml"], ["/nowhere/fwdcap.toml"]),
    "unknown --set": (["--set", "nonsense.key=1"], ["nonsense"]),
    "address not ours": (["--listen", "192.0.2.1:80"], ["192.0.2.1:80", "--listen"]),
    "no such descriptor": (["--listen", "fd:77"], ["77", "--listen"]),
    "store is no place": (["--store", "/proc/nowhere"], ["/proc/nowhere"]),
    "control is no place": (["--control", "/proc/nowhere/sock"], ["/proc/nowhere", "--control"]),
}


@pytest.mark.parametrize(("arguments", "words"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments(bare: Lab, arguments: list[str], words: list[object]) -> None:
    assert_refused(run(bare, *arguments), *words)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "store.path"],
        ["--no-such-flag"],
        ["--xdp", "fast"],
        ["extra"],
    ],
)
def test_usage(bare: Lab, arguments: list[str]) -> None:
    done = run(bare, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: fwdcap run" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_usage(bare: Lab) -> None:
    assert fwdcap(bare, "capture", "begin").returncode == 2
    assert fwdcap(bare, "nonsense").returncode == 2


READ = "+dac_read_search"  # the checkout, wherever it lies
PRIVILEGES = {
    "nobody": f"--reuid {NOBODY} --regid {NOBODY} --clear-groups"
    f" --inh-caps {READ} --ambient-caps {READ}",
    "root without": "--bounding-set -net_admin,-bpf,-perfmon --inh-caps -all",
}


@pytest.mark.parametrize("how", PRIVILEGES.values(), ids=PRIVILEGES)
def test_without_privileges(bare: Lab, how: str) -> None:
    done = run(bare, inside=("setpriv", *how.split()))
    assert_refused(done, "privileges", "CAP_NET_ADMIN", "as root")
    attach = fwdcap(bare, "datapath", "attach", "cap0", inside=("setpriv", *how.split()))
    assert_refused(attach, "privileges", "as root")


def test_an_old_kernel(bare: Lab) -> None:
    done = run(bare, inside=("setarch", "--uname-2.6"))
    assert_refused(done, "Linux 2.6.", "too old", "6.1")


def test_bpffs_that_cannot_be_mounted(bare: Lab) -> None:
    """In mounts of its own, where it is taken away, without the right to mount."""
    script = 'umount /sys/fs/bpf && exec setpriv --bounding-set -sys_admin "$@"'
    done = run(bare, inside=("unshare", "-m", "sh", "-c", script, "sh"))
    assert_refused(done, "bpffs is not mounted at /sys/fs/bpf", "mount -t bpf")


def test_attach_to_an_interface_that_is_not_there(bare: Lab) -> None:
    done = fwdcap(bare, "--control", "/nowhere/sock", "datapath", "attach", "nosuch")
    assert_refused(done, "There is no interface nosuch", "ip -brief link")


@pytest.mark.parametrize("command", ["status", "capture stop", "capture list", "route list"])
def test_no_daemon_to_ask(bare: Lab, command: str) -> None:
    done = fwdcap(bare, "--control", "/nowhere/sock", *command.split())
    assert_refused(done, "not running", "/nowhere/sock", "fwdcap run")


@contextmanager
def stranger_program(lab: Lab) -> Iterator[int]:
    """Somebody else's XDP program on cap0; gives its id."""

    def attach() -> int:
        with closing(libbpf.open_object(PASS_OBJECT)) as loaded, IPRoute() as ip:
            loaded.load()
            (index,) = ip.link_lookup(ifname="cap0")
            program = loaded.program("fwdcap_pass")
            libbpf.attach_xdp_netlink(program, index, libbpf.XDP_FLAGS_DRV_MODE)
        return attached(lab)

    try:
        yield lab.host("c").call(attach)
    finally:
        lab.host("c").run("ip link set dev cap0 xdp off")


def attached(lab: Lab) -> int:
    def ask() -> int:
        with IPRoute() as ip:
            (link,) = ip.get_links(ifname="cap0")
            return int(link.get_attr("IFLA_XDP").get_attr("IFLA_XDP_PROG_ID") or 0)

    return lab.host("c").call(ask)


def test_another_program_is_named_and_stays(bare: Lab) -> None:
    with stranger_program(bare) as program:
        done = run(bare)
        assert_refused(done, "cap0", "fwdcap_pass", f"id {program}", "xdp off")
        attach = fwdcap(bare, "--control", "/nowhere/sock", "datapath", "attach", "cap0")
        assert_refused(attach, "cap0", "fwdcap_pass")
        assert attached(bare) == program


# ---- with a daemon that runs ----


@pytest.fixture(scope="module")
def running(lab_name: str) -> Iterator[tuple[Lab, Appliance]]:
    with Lab(f"{lab_name}-r") as lab:
        yield lab, lab.start_appliance()


def test_a_second_daemon(running: tuple[Lab, Appliance], tmp_path: Path) -> None:
    lab, appliance = running
    same = ["--listen", "127.0.0.1:0", "--control", str(appliance.control)]
    done = fwdcap(lab, "run", *same, "--store", str(tmp_path / "store"))
    assert_refused(done, "Another fwdcap daemon", str(appliance.control))
    other = ["--listen", "127.0.0.1:0", "--control", str(tmp_path / "sock")]
    done = fwdcap(lab, "run", *other, "--store", str(appliance.store))
    assert_refused(done, "Another fwdcap daemon", str(appliance.store))
    done = run(lab, "--store", str(tmp_path / "store"), "--control", str(tmp_path / "sock"))
    assert_refused(done, "Another fwdcap daemon has interface cap0")
    assert "2 received" in lab.host("a").run(f"ping -c 2 -i 0.05 {CAPTURE}").stdout


HTTP = {
    "no name": ("/sysmaster/capture_start", 400, "name"),
    "empty name": ("/sysmaster/capture_start?StreamName=", 400, "name"),
    "bad name": ("/sysmaster/capture_start?StreamName=a/b", 400, "a/b"),
    "hidden name": ("/sysmaster/capture_start?StreamName=.a", 400, "name"),
    "long name": (f"/sysmaster/capture_start?StreamName={'x' * 129}", 400, "name"),
    "bad snaplen": ("/sysmaster/capture_start?StreamName=a&Snaplen=-1", 400, "Snaplen"),
    "unknown parameter": ("/sysmaster/capture_start?StreamName=a&Colour=red", 400, "Colour"),
    "nothing to stop": ("/sysmaster/capture_stop", 409, "No capture is running"),
    "no such stream": ("/pcap/single?StreamName=nosuch_20200101_0000", 404, "nosuch"),
    "no such page": ("/plain/nosuch", 404, ""),
}


@pytest.mark.parametrize(("path", "status", "word"), HTTP.values(), ids=HTTP)
def test_http(running: tuple[Lab, Appliance], path: str, status: int, word: str) -> None:
    lab, appliance = running
    with pytest.raises(Refused) as caught:
        Pages(appliance).get(path)
    assert (caught.value.status, "Traceback" in caught.value.text) == (status, False)
    assert word in caught.value.text
    assert str(lab.directory) not in caught.value.text
    assert Pages(appliance).status()["capture_active"] == "false"


def test_a_second_capture(running: tuple[Lab, Appliance]) -> None:
    pages = Pages(running[1])
    pages.start("first")
    with pytest.raises(Refused, match=r'409 \{"Status":false,.*\[first\] is already running'):
        pages.start("second")
    assert pages.status()["capture_name"] == "first"
    pages.stop()


def test_without_an_interface(running: tuple[Lab, Appliance]) -> None:
    lab, appliance = running
    appliance.client.datapath_detach()
    with pytest.raises(Refused, match=r"503 .*no capture interface"):
        Pages(appliance).start("x")
    appliance.client.datapath_attach("cap0")
    assert "2 received" in lab.host("a").run(f"ping -c 2 -i 0.05 {CAPTURE}").stdout


def test_a_full_disk(lab_name: str) -> None:
    with Lab(f"{lab_name}-f") as lab:
        small = lab.directory / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "small", small], check=True)
        try:
            appliance = lab.start_appliance(settings={"store.path": str(small / "store")})
            with pytest.raises(Refused, match=r"507 .*full"):
                Pages(appliance).start("x")
            assert "2 received" in lab.host("a").run(f"ping -c 2 -i 0.05 {CAPTURE}").stdout
            assert list((small / "store" / "streams").iterdir()) == []
            appliance.stop()
        finally:
            subprocess.run(["umount", "-l", small], check=True)


def test_an_interface_that_comes_later_is_waited_for(lab_name: str) -> None:
    with Lab(f"{lab_name}-l") as lab:
        c = lab.host("c")
        c.run("ip link set cap0 down")
        c.run("ip link set cap0 name later0")
        appliance = lab.start_appliance(wait=False)
        wait_until(lambda: appliance.log.exists() and "pages " in appliance.log_tail(), "its start")
        assert "Interface cap0 is not there yet. Waiting for it." in appliance.log_tail()
        assert appliance.client.status()["datapath"]["state"] == "waiting"
        with pytest.raises(Refused, match="503"):
            Pages(appliance).start("early")
        c.run("ip link set later0 name cap0")
        c.run("ip link set cap0 up")
        said = "Interface cap0 is there now, attached to it."
        wait_until(lambda: said in appliance.log_tail(), "the line that says so")
        assert appliance.client.status()["datapath"]["state"] == "forwarding"
        a = lab.host("a")
        wait_until(lambda: a.run(f"ping -c 1 -W 1 {CAPTURE}", check=False).returncode == 0, "pings")
        appliance.wait_ready()
        with Pages(appliance).recording("later") as taken:
            assert "2 received" in a.run(f"ping -c 2 -i 0.05 {CAPTURE}").stdout
        assert len(taken.records) == 2 * 2 * 3
