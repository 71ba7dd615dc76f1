"""`fwdcap lab demo`: the whole job on one machine, in front of your eyes.

Every command is printed as it is run, so that each can be repeated by hand;
what is shown of the capture comes from tcpdump, not from us. The appliance is
left running, to be looked at in a browser and sent more traffic.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from fwdcap.errors import FwdcapError, Unavailable
from fwdcap.lab.appliance import Appliance
from fwdcap.lab.host import Host
from fwdcap.lab.testbed import CAPTURE, CLIENT, DEFAULT_NAME, SERVER, Lab, check_machine

_STEPS = 7
_CAPTURE_NAME = "demo"
_HTTP_PORT = 8000
_UDP_PORT = 7000
_FILE_BYTES = 300_000
_LINES = 6
_PATIENCE_S = 10.0

# The address pair tells the stage of a copy; both ways of the flow are shown.
_MODES = (
    (
        "ingress",
        f"what the appliance received: A → C, and back B → C ({CAPTURE})",
        f"dst {CAPTURE}",
    ),
    (
        "inline",
        "what analysis wants to see: A → B, never on any wire",
        f"host {CLIENT} and {SERVER}",
    ),
    ("egress", f"what the appliance sent: C ({CAPTURE}) → B, and back C → A", f"src {CAPTURE}"),
)


def show(port: int, name: str = DEFAULT_NAME) -> None:
    """Run the demo in lab `name`; the page listens on `port` if that is free.

    Raises FwdcapError with the end of the appliance's log.
    """
    lab = Lab(name)
    check_machine("curl", "ping")
    began = time.monotonic()
    if name in Lab.names():
        _say("    an earlier demo is still there; taking it away first")
    lab.down()
    _step(1, "building the lab: hosts A and B and the appliance C on one bridge")
    lab.up()
    _step(2, "starting the appliance on host C")
    appliance = lab.start_appliance(port=_free_port(port))
    try:
        _Demo(lab, appliance).run()
    except (FwdcapError, OSError, subprocess.SubprocessError) as error:
        raise Unavailable(
            f"The demo failed: {str(error).strip().rstrip('.')}.",
            code="demo-failed",
            hint=f"The end of {appliance.log}:\n{appliance.log_tail()}",
        ) from error
    _say(f"\nDone in {time.monotonic() - began:.0f} s. The appliance goes on running.\n")
    _say(_farewell(appliance, name))


@dataclass(frozen=True)
class _Demo:
    lab: Lab
    appliance: Appliance

    @property
    def _a(self) -> Host:
        return self.lab.host("a")

    @property
    def _b(self) -> Host:
        return self.lab.host("b")

    def run(self) -> None:
        _say(f"    {self.appliance.url} answers; it relays A {CLIENT} → C {CAPTURE} → B {SERVER}")
        _step(3, "starting a capture over HTTP")
        self._ask(f"/sysmaster/capture_start?StreamName={_CAPTURE_NAME}")
        _step(4, f"sending traffic: A talks to {CAPTURE} and B answers")
        self._send_traffic()
        _step(5, "stopping the capture")
        self._ask("/sysmaster/capture_stop")
        _step(6, "listing and downloading it")
        pcap = self._download()
        _step(7, "reading it with tcpdump")
        for mode, meaning, expression in _MODES:
            _say(f"\n  {mode}: {meaning}")
            command = ["tcpdump", "-nn", "-c", str(_LINES), "-r", str(pcap), expression]
            if not _run(command):
                raise Unavailable(f"The capture holds no {mode} records.", code="demo-failed")

    def _send_traffic(self) -> None:
        directory = self.lab.directory
        pages = directory / "pages"
        pages.mkdir()
        sent = pages / "page.txt"
        sent.write_bytes(b"A talks to C, B answers.\n" * (_FILE_BYTES // 25))
        received = directory / "received.txt"
        web = f"{sys.executable} -m http.server -d {pages} -b {SERVER} {_HTTP_PORT}"
        echo = f"{sys.executable} -m fwdcap.lab.udp echo {SERVER} {_UDP_PORT}"
        with _service(self._b, web, directory), _service(self._b, echo, directory):
            _wait_for(self._b)
            _run(self._a.command(f"ping -c 2 -i 0.2 {CAPTURE}"))
            url = f"http://{CAPTURE}:{_HTTP_PORT}/{sent.name}"
            said = "%{size_download} bytes, HTTP %{http_code}, from %{remote_ip}\\n"
            _run(self._a.command(["curl", "-sS", "-o", str(received), "-w", said, url]))
            ask = f"{sys.executable} -m fwdcap.lab.udp ask {CAPTURE} {_UDP_PORT} 5"
            _run(self._a.command(ask))
        if received.read_bytes() != sent.read_bytes():
            raise Unavailable("The file arrived changed.", code="demo-failed")

    def _download(self) -> Path:
        listing = self._ask("/plain/list")
        newest = next(iter(listing.splitlines()[1:]), "").split(",")
        if len(newest) < 5:
            raise Unavailable("The list of captures is empty.", code="demo-failed")
        pcap = self.lab.directory / f"{_CAPTURE_NAME}.pcap"
        self._ask(newest[4].strip(), "-o", str(pcap))
        if pcap.stat().st_size != int(newest[1]):
            raise Unavailable(
                f"The download has {pcap.stat().st_size} bytes, the list says {newest[1].strip()}.",
                code="demo-failed",
            )
        return pcap

    def _ask(self, path: str, *options: str) -> str:
        login = f"{self.appliance.user}:{self.appliance.password}"
        url = self.appliance.url + path
        return _run(["curl", "-sS", "--fail-with-body", "-u", login, *options, url])


@contextmanager
def _service(host: Host, command: str, directory: Path) -> Iterator[None]:
    """A server on the host for the length of the block."""
    words = host.command(command)
    _say(f"    $ {_quoted(words)} &")
    with (directory / "services.log").open("ab") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)


def _wait_for(host: Host) -> None:
    """Until both services of the host listen; asked on the host, so not on the wire."""

    def listening() -> bool:
        tcp = Path("/proc/thread-self/net/tcp").read_text()
        udp = Path("/proc/thread-self/net/udp").read_text()
        return f":{_HTTP_PORT:04X} 00000000:0000 0A" in tcp and f":{_UDP_PORT:04X} " in udp

    deadline = time.monotonic() + _PATIENCE_S
    while not host.call(listening):
        if time.monotonic() > deadline:
            raise Unavailable("The services on host B did not start.", code="demo-failed")
        time.sleep(0.05)


def _run(command: Sequence[str]) -> str:
    """Print the command, run it, print and return what it said; raises Unavailable."""
    _say(f"    $ {_quoted(command)}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    for line in done.stdout.splitlines():
        _say(f"    {line}")
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().replace("\n", "; ")
        raise Unavailable(
            f"`{_quoted(command)}` ended with {done.returncode}: {reason}", code="demo-failed"
        )
    return done.stdout


def _quoted(command: Sequence[str]) -> str:
    return shlex.join(command)


def _free_port(preferred: int) -> int:
    """`preferred` if nobody listens there, else 0: any, and says so."""
    try:
        with socket.create_server(("127.0.0.1", preferred)):
            return preferred
    except OSError:
        _say(f"    port {preferred} is taken, so the web page gets another one")
        return 0


def _farewell(appliance: Appliance, name: str) -> str:
    us = _ourselves()
    which = "" if name == DEFAULT_NAME else f"--name {name} "
    return "\n".join(
        (
            f"  web page       {appliance.url}/",
            f"  user           {appliance.user}",
            f"  password       {appliance.password}",
            f"  its log        {appliance.log}",
            f"  command line   {us} --control {appliance.control} status",
            f"  more traffic   {us} lab run {which}a ping {CAPTURE}",
            f"  a shell on A   {us} lab enter {which}a",
            f"  stop it all    {us} lab down --name {name}",
        )
    )


def _ourselves() -> str:
    """How the reader calls this command again, from where they are."""
    called = Path(sys.argv[0])
    if called.name != "fwdcap":
        return f"{sys.executable} -m fwdcap"
    sudo = "sudo " if "SUDO_USER" in os.environ else ""
    local = called.is_relative_to(Path.cwd()) if called.is_absolute() else False
    return sudo + str(called.relative_to(Path.cwd()) if local else called)


def _step(number: int, text: str) -> None:
    _say(f"{number}/{_STEPS} {text} …")


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()
