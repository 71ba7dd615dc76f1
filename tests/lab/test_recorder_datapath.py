"""A data path with several rings: what it pins, keeps, says, and how full it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

INTERFACE = "cap0"
Ask = Callable[[str], Any]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Runs a script in a namespace with one interface; `say` in it is what comes back."""
    name = f"fwdcap-rings-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    ip = ["ip", "-n", name]
    subprocess.run([*ip, "link", "add", INTERFACE, "type", "veth", "peer", "peer0"], check=True)
    for link in (INTERFACE, "peer0"):
        subprocess.run([*ip, "link", "set", link, "up"], check=True)

    def run(script: str) -> Any:
        lines = (
            "import json",
            "from fwdcap.datapath.datapath import Datapath",
            "from fwdcap.datapath import objects",
            "said = []",
            "say = said.append",
            script,
            "print(json.dumps(said))",
        )
        command = ["nsenter", f"--net=/run/netns/{name}", sys.executable, "-c", "\n".join(lines)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(ran.stdout)

    yield run
    run(f"path = Datapath.open('{INTERFACE}')\nif path: path.detach()")
    subprocess.run(["ip", "netns", "del", name], check=True)


def attach(count: int, size: int) -> str:
    return f"path = Datapath.attach('{INTERFACE}', ring_count={count}, ring_bytes={size})\n"


RINGS = "say(sorted(each.name for each in path.pins.glob('ring[0-9]*')))\n"


def test_rings_are_made_once_and_a_change_is_told_of(ask: Ask) -> None:
    first = ask(attach(3, 1 << 16) + RINGS + "say(path.ring_fill())\nsay(path.tend())")
    assert first == [["ring0", "ring1", "ring2"], [0, 3 << 16], []]
    again = ask(
        attach(2, 1 << 20) + RINGS + "say(path.ring_fill())\nsay(path.tend())\nsay(path.tend())"
    )
    assert again == [
        ["ring0", "ring1", "ring2"],
        [0, 3 << 16],
        [
            "The data path of cap0 keeps its 3 rings of 65,536 bytes; 2 rings of 1,048,576 bytes"
            " will be made after `fwdcap datapath detach`."
        ],
        [],
    ]
    opened = ask("path = Datapath.open('cap0')\nsay(path.ring_fill())\nsay(path.detach())")
    assert opened[0] == [0, 3 << 16]
    fresh = ask(attach(2, 1 << 20) + RINGS + "say(path.ring_fill())\nsay(path.tend())")
    assert fresh == [["ring0", "ring1"], [0, 2 << 20], []]
