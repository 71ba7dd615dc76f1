"""Named network namespaces, entered by setns alone.

`ip netns exec` also mounts a private, empty /sys, which hides bpffs: what is
pinned below it dies with its process. So a thread enters by setns(2), and a
program by `nsenter --net=`. A thread that entered ends with its work and the
process itself never moves.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pyroute2 import netns

from fwdcap.errors import NotFound

T = TypeVar("T")

DIRECTORY = Path("/run/netns")
_SO_NETNS_COOKIE = 71  # <asm-generic/socket.h>; Python has no name for it

# A namespace copies the machine's own IPv4 settings when it is made. A lab is to
# behave alike on every machine: no routing, no filter, the kernel's ARP defaults.
_SETTINGS = {
    "ipv4/ip_forward": "0",
    **{
        f"ipv4/conf/{scope}/{key}": "0"
        for scope in ("all", "default")
        for key in ("rp_filter", "arp_ignore", "arp_announce", "arp_filter")
    },
    # Router solicitations and duplicate address detection would be in every capture.
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    # Where br_netfilter is loaded, a bridge drops the malformed frames tests send.
    "bridge/bridge-nf-call-iptables": "0",
    "bridge/bridge-nf-call-arptables": "0",
}


def path(name: str) -> Path:
    return DIRECTORY / name


def exists(name: str) -> bool:
    return path(name).exists()


def names() -> list[str]:
    """All named network namespaces of this machine."""
    return sorted(netns.listnetns())


def create(name: str) -> None:
    """Make the namespace and give it the lab's settings, before any link is in it."""
    netns.create(name)
    inside(name, _apply_settings)


def remove(name: str) -> None:
    """Forget the name; the kernel frees the namespace when nothing uses it."""
    if exists(name):
        netns.remove(name)


def inside(name: str, function: Callable[[], T]) -> T:
    """What `function` returns when it runs in the namespace, in a thread of its own.

    Sockets it opens stay in the namespace and may be used from any thread.
    """
    if not exists(name):
        raise NotFound(
            f"There is no network namespace {name}.",
            code="no-namespace",
            hint="`fwdcap lab up` builds a lab.",
        )

    def work() -> T:
        netns.setns(name, flags=0)
        return function()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(work).result()


def command(name: str, arguments: Iterable[str]) -> list[str]:
    """The command line that runs `arguments` in the namespace."""
    return ["nsenter", f"--net={path(name)}", "--", *arguments]


def cookie(name: str) -> int:
    """The number by which the kernel tells this namespace from all others, ever."""

    def ask() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            raw = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        return int.from_bytes(raw, "little")

    return inside(name, ask)


def processes(members: Iterable[str]) -> list[int]:
    """Process ids that live in any of the namespaces."""
    wanted = {path(name).stat().st_ino for name in members if exists(name)}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            inode = os.stat(entry / "ns" / "net").st_ino
        except OSError:  # it ended meanwhile
            continue
        if inode in wanted:
            found.append(int(entry.name))
    return sorted(found)


def _apply_settings() -> None:
    for key, value in _SETTINGS.items():
        setting = Path("/proc/sys/net") / key
        if setting.exists():  # IPv6 or br_netfilter may not be in this kernel
            setting.write_text(value)
