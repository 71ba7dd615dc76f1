"""Kernel settings a capture interface needs, and putting them back.

The next-hop look-up wants `forwarding` on, which would make the machine a
router: a policy rule turns away whatever came in by the interface and is not
for us. ARP for a capture address must be answered by the capture interface
alone, although another one may lie in the same subnet. A moved MAC address has
to be noticed soon. And offloads that merge frames or hide a VLAN tag before the
program sees them are switched off.

What was there before is written to a file under /run before it is changed, so
that any later process can restore it; a reboot clears both.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyroute2

from fwdcap.datapath import links
from fwdcap.datapath.pins import namespace_suffix
from fwdcap.datapath.rtnetlink import rtnetlink

log = logging.getLogger(__name__)

RUN = Path("/run/fwdcap")
# After the local table (priority 0), before every other.
RULE_PRIORITY = 5
# FR_ACT_BLACKHOLE, <linux/fib_rules.h>. `unreachable` would answer strangers with
# ICMP errors, from the management address; a host that is no router is silent.
_BLACKHOLE = 6

# With these a MAC address that moved without a word is noticed within about ten
# seconds: at most 3 s reachable, 5 s until the kernel looks at managed
# neighbours again, then a delay and three probes (man 7 arp).
_NEIGHBOUR_TIMERS = {
    "base_reachable_time_ms": "2000",
    "delay_first_probe_time": "1",
    "retrans_time_ms": "200",  # whole ticks at every usual CONFIG_HZ, or it reads back changed
    "ucast_solicit": "2",
    "mcast_resolicit": "3",
}


@dataclass
class Saved:
    """What was there before; keys are paths below /proc/sys and feature names."""

    why: str = ""  # why this XDP mode, for whoever adopts
    sysctls: dict[str, str] = field(default_factory=dict)
    features: dict[str, bool] = field(default_factory=dict)


def wanted_sysctls(interface: str) -> Iterator[tuple[str, str]]:
    conf = f"net/ipv4/conf/{interface}"
    yield f"{conf}/forwarding", "1"
    yield f"{conf}/send_redirects", "0"
    yield f"{conf}/arp_announce", "2"
    yield f"{conf}/arp_ignore", "1"
    for name, value in _NEIGHBOUR_TIMERS.items():
        yield f"net/ipv4/neigh/{interface}/{name}", value
    for other in links.interfaces_beside(interface):
        yield f"net/ipv4/conf/{other}/arp_ignore", "1"
        yield f"net/ipv4/conf/{other}/arp_announce", "2"


def wanted_features(generic: bool) -> tuple[str, ...]:
    """Offloads to switch off; generic XDP runs after frames were merged."""
    merging = ("rx-gro", "rx-gro-hw", "rx-lro", "rx-gro-list", "rx-udp-gro-forwarding")
    return ("rx-vlan-hw-parse", *(merging if generic else ()))


def establish(interface: str, *, generic: bool, why: str | None = None) -> None:
    """Make all settings; safe to repeat. OSError where the kernel refuses one."""
    # First, and last to go: without it the machine would be a router for a moment.
    _turn_away_strangers(interface)
    saved = load(interface) or Saved()
    if why is not None:
        saved.why = why
    features = _Features(interface)
    for name in wanted_features(generic):
        if features.get(name):
            saved.features.setdefault(name, True)
    _make(interface, saved)
    _store(interface, saved)
    features.set(dict.fromkeys(wanted_features(generic), False))


def uphold(interface: str) -> list[str]:
    """Put back what somebody else changed; returns what to say about it."""
    said = []
    if _turn_away_strangers(interface):
        said.append(f"The rule that keeps {interface} from routing was gone; it is back.")
    changed = _make(interface, load(interface) or Saved())
    return said + [f"Somebody changed {name}; it is {value} again." for name, value in changed]


def restore(interface: str) -> list[str]:
    """Put everything back; returns what could not be, as sentences."""
    saved = load(interface) or Saved()
    failures: list[str] = []
    # Setting `forwarding` touches others, so what was saved first goes back last.
    for name, value in reversed(list(saved.sysctls.items())):
        try:
            if _read(name) != value:
                _write(name, value)
        except FileNotFoundError:
            continue  # the interface is gone, and its settings with it
        except OSError as error:
            failures.append(f"Setting {name} could not be put back to {value}: {error.strerror}.")
    if saved.features and links.interface_info(interface):
        _Features(interface).set(saved.features)
    _let_strangers_in(interface)
    _path(interface).unlink(missing_ok=True)
    return failures


def rename(old: str, new: str) -> None:
    """The interface has a new name: what was saved under the old one is its own."""
    saved = load(old)
    if saved:
        saved.sysctls = {
            "/".join(new if part == old else part for part in name.split("/")): value
            for name, value in saved.sysctls.items()
        }
        _store(new, saved)
    _turn_away_strangers(new)
    _let_strangers_in(old)
    _path(old).unlink(missing_ok=True)


def left_behind(interface: str) -> bool:
    """Is there something to restore?"""
    return _path(interface).exists()


def _make(interface: str, saved: Saved) -> list[tuple[str, str]]:
    """Make the sysctls what they should be; returns those that were not."""
    wanted = dict(wanted_sysctls(interface))
    there = {name: _read(name) for name in wanted}
    if not there.keys() <= saved.sysctls.keys() or not left_behind(interface):
        saved.sysctls = {**there, **saved.sysctls}
        _store(interface, saved)
    changed = [(name, value) for name, value in wanted.items() if there[name] != value]
    for name, value in changed:
        _write(name, value)
    return changed


def load(interface: str) -> Saved | None:
    """What was saved, None when nothing was."""
    try:
        return Saved(**json.loads(_path(interface).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning(
            "%s cannot be read, what was there cannot come back: %s", _path(interface), error
        )
        return None


def _store(interface: str, saved: Saved) -> None:
    RUN.mkdir(mode=0o755, exist_ok=True)
    path = _path(interface)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(saved), indent=1))
    os.replace(temporary, path)


def _path(interface: str) -> Path:
    return RUN / f"{interface}{namespace_suffix()}.settings.json"


def _read(name: str) -> str:
    return Path("/proc/sys", name).read_text().strip()


def _write(name: str, value: str) -> None:
    Path("/proc/sys", name).write_text(value)


def _our_rules(netlink: pyroute2.IPRoute, interface: str) -> list[object]:
    return [
        rule
        for rule in netlink.get_rules(family=2)
        if rule.get_attr("FRA_PRIORITY") == RULE_PRIORITY
        and rule.get_attr("FRA_IIFNAME") == interface
    ]


def _turn_away_strangers(interface: str) -> bool:
    """Whether the rule had to be added."""
    with rtnetlink() as netlink:
        if _our_rules(netlink, interface):
            return False
        netlink.rule("add", priority=RULE_PRIORITY, iifname=interface, action=_BLACKHOLE)
        return True


def _let_strangers_in(interface: str) -> None:
    with contextlib.suppress(FileNotFoundError), rtnetlink() as netlink:
        for _ in _our_rules(netlink, interface):
            netlink.rule("del", priority=RULE_PRIORITY, iifname=interface, action=_BLACKHOLE)


class _Features:
    """The offload switches of an interface that its driver lets us turn."""

    def __init__(self, interface: str) -> None:
        self._interface = interface

    def get(self, name: str) -> bool:
        return bool(self._all().get(name))

    def set(self, values: dict[str, bool]) -> None:
        changes = {name: on for name, on in values.items() if self._all().get(name, on) != on}
        if not changes:
            return
        with pyroute2.Ethtool() as ethtool:
            features = ethtool.get_features(self._interface)
            for name, on in changes.items():
                features.features[name].enable = on
            try:
                ethtool.set_features(self._interface, features)
            except Exception as error:  # pyroute2 raises several unrelated kinds
                log.warning("Offloads %s stay as they are: %s.", ", ".join(changes), error)

    def _all(self) -> dict[str, bool]:
        with pyroute2.Ethtool() as ethtool:
            try:
                features = ethtool.get_features(self._interface).features
            except Exception as error:
                log.warning("The offloads of %s cannot be read: %s.", self._interface, error)
                return {}
        return {
            name: bool(feature.enable) for name, feature in features.items() if feature.available
        }
