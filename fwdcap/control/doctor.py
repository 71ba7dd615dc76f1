"""`fwdcap doctor`: does this machine have what it takes, and what would go wrong.

Each check is a value: ok, a warning (works, with a catch) or a failure (will
not work), a sentence, and what to do. Nothing is changed but for a small file
that is written into the store and removed again.
"""

from __future__ import annotations

import ctypes
import shutil
import zoneinfo
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import fwdcap
from fwdcap.capture.accounts import Accounts
from fwdcap.capture.folder import MIN_FREE_BYTES
from fwdcap.config import Settings
from fwdcap.control import diskprobe, front, host, status
from fwdcap.control.backend import Backend, Interface
from fwdcap.control.kernel import View
from fwdcap.control.recent import Seen
from fwdcap.control.routetable import RouteTable
from fwdcap.errors import FwdcapError, Invalid
from fwdcap.tls import certificate
from fwdcap.tls.plan import is_local, plan

Level = Literal["ok", "warning", "failure"]

_BUILD = Path(fwdcap.__file__).parent / "native" / "build"
_BTF = Path("/sys/kernel/btf/vmlinux")
_MOUNTS = Path("/proc/self/mounts")
_CONF = Path("/proc/sys/net/ipv4/conf")
_LOW_BYTES = 10 * 1000**3
# Amazon's driver takes native XDP up to this MTU, unless it has multi-buffer support.
_ENA_MTU = 3498


@dataclass(frozen=True)
class Check:
    """One finding: `message` is a sentence, `hint` what to do where it is not ok."""

    name: str
    level: Level
    message: str
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(
    settings: Settings,
    backend: Backend,
    view: View,
    accounts: Accounts,
    table: RouteTable,
    seen: Seen | None = None,
) -> tuple[Check, ...]:
    """All checks, in the order in which they matter.

    `seen` is what passed of late; without it, all since the data path was attached.
    """
    name = view.interface
    info = view.info
    return (
        kernel(host.kernel_release()),
        bpffs(_text(_MOUNTS)),
        btf(_BTF.exists()),
        privileges(host.effective_capabilities()),
        built(_missing_parts()),
        *interface(name, info),
        *xdp(view),
        *(routes(table, backend, name) if name and info else ()),
        *traffic(seen or Seen.of(view), name),
        *(neighbourhood(name, backend.beside(name), _arp_ignore(name)) if name and info else ()),
        *store(settings.store.path),
        *users(accounts),
        https(settings),
        time_zone(settings.time.zone),
    )


def kernel(release: str) -> Check:
    if host.kernel_version(release) >= host.MINIMUM_KERNEL:
        return Check("kernel", "ok", f"Linux {release}.")
    return Check("kernel", "failure", f"Linux {release} is too old.", "Use 6.1 or later.")


def bpffs(mounts: str) -> Check:
    lines = (line.split() for line in mounts.splitlines())
    if any(words[1:3] == ["/sys/fs/bpf", "bpf"] for words in lines):
        return Check("bpffs", "ok", "bpffs is mounted at /sys/fs/bpf.")
    return Check(
        "bpffs",
        "warning",
        "bpffs is not mounted at /sys/fs/bpf.",
        "`fwdcap run` mounts it; or do so with `mount -t bpf bpf /sys/fs/bpf`.",
    )


def btf(there: bool) -> Check:
    if there:
        return Check("btf", "ok", "The kernel describes its types (BTF).")
    return Check(
        "btf",
        "failure",
        f"The kernel has no BTF: {_BTF} is missing.",
        "Use a kernel built with CONFIG_DEBUG_INFO_BTF, as all distributions' are.",
    )


def privileges(capabilities: int) -> Check:
    names = host.lacking(capabilities)
    if not names:
        return Check("privileges", "ok", "May load and attach programs.")
    return Check("privileges", "failure", f"Lacks {', '.join(names)}.", "Run it as root.")


def built(missing: Iterable[str]) -> Check:
    names = list(missing)
    if not names:
        return Check("programs", "ok", "The data path, the recorder and libbpf are there.")
    return Check(
        "programs",
        "failure",
        f"Not there: {', '.join(names)}.",
        "Run `make build`; libbpf is Debian's package libbpf1.",
    )


def interface(name: str | None, info: Interface | None) -> Iterator[Check]:
    """Presence, link, addresses, MTU."""
    if name is None:
        yield Check(
            "interface",
            "warning",
            "No capture interface is configured, nothing is forwarded.",
            "Name one with [interface] name or --interface.",
        )
        return
    if info is None:
        yield Check(
            "interface",
            "failure",
            f"There is no interface {name} on this machine.",
            "`ip -brief link` lists those there are.",
        )
        return
    driver = info.driver or "unknown"
    yield Check("interface", "ok", f"{name} is there: driver {driver}, MTU {info.mtu} bytes.")
    if not info.up:
        yield Check("link", "failure", f"{name} is down.", f"`ip link set {name} up`.")
    if not info.addresses:
        yield Check(
            "addresses",
            "failure",
            f"{name} has no IPv4 address, so no route can use it.",
            f"`ip address add ADDRESS/PREFIX dev {name}`.",
        )
    else:
        listed = ", ".join(map(str, info.addresses))
        yield Check("addresses", "ok", f"{name} has {listed}.")
    if driver == "ena" and info.mtu > _ENA_MTU:
        yield Check(
            "mtu",
            "warning",
            f"With MTU {info.mtu} the ena driver may refuse native XDP.",
            f"Be content with generic mode, or `ip link set {name} mtu {_ENA_MTU}` and have both "
            "ends of each route use no larger one: a TCP connection that does would hang.",
        )


def xdp(view: View) -> Iterator[Check]:
    """Whether the data path is attached, in which mode and why."""
    why = f": {view.why.rstrip('.')}" if view.why else ""
    if view.state == "forwarding":
        yield Check("xdp", "ok", f"Attached to {view.interface} in {view.mode} mode{why}.")
    elif view.state == "waiting" and view.why:
        yield Check(
            "xdp", "warning", f"Not attached{why}.", "It attaches as soon as that has changed."
        )
    elif view.interface:
        yield Check(
            "xdp",
            "warning",
            f"Nothing is attached to {view.interface}.",
            f"`fwdcap run`, or `fwdcap datapath attach {view.interface}`.",
        )


def routes(table: RouteTable, backend: Backend, name: str) -> Iterator[Check]:
    """Whether the routes fit the interface, and their ends can be sent to through it."""
    try:
        table.check(backend, name)
    except Invalid as error:
        yield Check("routes", "failure", error.message, error.hint)
        return
    ends = {
        (route.name, what): pair
        for route in table.routes
        if route.enabled
        for what, pair in (
            ("client", (route.capture, route.client)),
            ("server", (route.egress_address, route.server)),
        )
    }
    reachable = backend.reachable(name, ends.values())
    missing = {end: pair for end, pair in ends.items() if pair not in reachable}
    for (route, what), (_, peer) in missing.items():
        yield Check(
            "routes",
            "failure",
            f"Route {route}: this machine has no route to {what} {peer} through {name}.",
            f"`ip route add {peer} via GATEWAY dev {name}`.",
        )
    if ends and not missing:
        yield Check("routes", "ok", f"All clients and servers have a route through {name}.")


def traffic(seen: Seen, interface: str | None) -> Iterator[Check]:
    """What passed that shows offloads left on at a sender, or a peer out of reach."""
    for notice in status.about_senders(seen):
        yield Check("offloads", "failure", notice.message, notice.hint)
    for notice in status.about_next_hops(seen, interface):
        yield Check("next-hop", "warning", notice.message, notice.hint)


def neighbourhood(name: str, beside: Iterable[str], arp_ignore: int) -> Iterator[Check]:
    """Other interfaces in the capture interface's subnet answer ARP for it, unless told not to."""
    others = ", ".join(beside)
    if not others:
        return
    if arp_ignore:
        yield Check("arp", "ok", f"{others} shares a subnet with {name}; ARP is kept apart.")
    else:
        yield Check(
            "arp",
            "warning",
            f"{others} shares a subnet with {name} and may answer ARP for its addresses.",
            "`sysctl net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2`.",
        )


def store(path: Path) -> Iterator[Check]:
    """Existence, space, and what the recorder needs of the file system."""
    place = path
    while not place.is_dir() and place != place.parent:
        place = place.parent
    if place != path:
        yield Check("store", "warning", f"{path} is not there yet.", "`fwdcap run` makes it.")
    found = diskprobe.probe(place)
    if found.problem:
        yield Check(
            "store",
            "failure",
            f"{place} cannot be written: {found.problem}.",
            "Correct its permissions, or choose another place with [store] path.",
        )
        return
    free = shutil.disk_usage(place).free
    gigabytes = free / 1000**3
    level: Level = (
        "ok" if free >= _LOW_BYTES else "warning" if free >= MIN_FREE_BYTES else "failure"
    )
    hint = "" if level == "ok" else "Delete streams or give the store a larger disk."
    yield Check("space", level, f"{gigabytes:.1f} GB are free for the store {path}.", hint)
    yield _ability(
        "o_direct", found.direct, "take direct writes (O_DIRECT)", "recording is much slower", path
    )
    yield _ability(
        "fallocate", found.allocate, "reserve space for files", "recording is slower", path
    )


def _ability(name: str, able: bool, what: str, cost: str, path: Path) -> Check:
    if able:
        return Check(name, "ok", f"The store's file system can {what}.")
    return Check(
        name,
        "warning",
        f"The file system of {path} cannot {what}; {cost}.",
        "Put the store on ext4 or XFS.",
    )


def users(accounts: Accounts) -> Iterator[Check]:
    for notice in accounts.notices:
        yield Check("users", "warning", notice.message, notice.hint)
    if not accounts.notices:
        web, recorder = accounts.web.name, accounts.recorder.name
        yield Check("users", "ok", f"Pages run as {web}, the recorder as {recorder}.")


def https(settings: Settings) -> Check:
    """Whether pages that others can reach can be served by https."""
    listen = settings.web.listen
    try:
        wanted = plan(settings.web, is_local(listen))
        if not wanted.https:
            level: Level = "ok" if wanted.clear == "all" else "warning"
            return Check("https", level, f"Pages are served in clear on {listen}.")
        if settings.web.certificate and settings.web.key:
            certificate.read(settings.web.certificate, settings.web.key)
        return Check("https", "ok", f"Pages are served over https by {front.program()}.")
    except FwdcapError as error:
        return Check("https", "failure", error.message, error.hint)


def time_zone(zone: str) -> Check:
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        if zone != "UTC":
            hint = "Install tzdata, or choose another [time] zone."
            return Check("time-zone", "failure", f"There is no time zone {zone} here.", hint)
    return Check("time-zone", "ok", f"Times are shown in {zone}.")


# ---- readings


def _missing_parts() -> list[str]:
    files = (_BUILD / "fwdcap.bpf.o", _BUILD / "fwdcap-recorder")
    missing = [file.name for file in files if not file.exists()]
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError:
        missing.append("libbpf.so.1")
    return missing


def _arp_ignore(interface: str) -> int:
    """The greater of the interface's and of all's, as the kernel takes it."""
    texts = (_text(_CONF / name / "arp_ignore").strip() for name in ("all", interface))
    return max(int(text) if text.isdigit() else 0 for text in texts)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
