"""What the daemon needs of the machine's network, and where it gets it.

The one door from control to the data path. Tests put another backend behind it;
`real()` imports the true one late, because that loads libbpf and pyroute2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Protocol, cast

from fwdcap import abi
from fwdcap.routes.check import Facts
from fwdcap.routes.model import Rule, RuleKey
from fwdcap.routes.plan import Plan

# One of our addresses, and a peer that is sent to from it.
Pair = tuple[IPv4Address, IPv4Address]


class Interface(Protocol):
    """datapath.links.InterfaceInfo."""

    @property
    def name(self) -> str: ...
    @property
    def ifindex(self) -> int: ...
    @property
    def up(self) -> bool: ...
    @property
    def mtu(self) -> int: ...
    @property
    def driver(self) -> str | None: ...
    @property
    def speed_mbit(self) -> int: ...
    @property
    def addresses(self) -> tuple[IPv4Interface, ...]: ...


class DataPath(Protocol):
    """datapath.Datapath: the data path of one interface."""

    @property
    def interface(self) -> str: ...
    @property
    def pins(self) -> Path: ...
    @property
    def ifindex(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def why(self) -> str: ...
    def rules(self) -> Mapping[RuleKey, Rule]: ...
    def apply(self, plan: Plan) -> None: ...
    def rule_counters(self) -> Mapping[RuleKey, abi.RuleCounters]: ...
    def reasons(self) -> Mapping[abi.Reason, int]: ...
    def activate(self, snaplen: int) -> None: ...
    def deactivate(self) -> None: ...
    def capture_active(self) -> bool: ...
    def cpu_states(self) -> list[abi.CpuState]: ...
    def interface_counts(self) -> Mapping[tuple[int, abi.Mode], tuple[int, int]]: ...
    def ring_fill(self) -> tuple[int, int]: ...
    def tend(self) -> list[str]: ...
    def close(self) -> None: ...
    def detach(self) -> list[str]: ...


class Backend(Protocol):
    """How data paths are come by, and what is known of interfaces."""

    def attach(
        self, interface: str, *, xdp: str, ring_bytes: int, ring_count: int, unmatched_drop: bool
    ) -> DataPath: ...
    def clear_away(self, interface: str) -> list[str] | None: ...
    def directory(self, interface: str) -> Path: ...
    def open(self, interface: str) -> DataPath | None: ...
    def pinned(self) -> list[str]: ...
    def interface_names(self) -> list[str]: ...
    def info(self, interface: str) -> Interface | None: ...
    def facts(self, interface: str) -> Facts: ...
    def beside(self, interface: str) -> list[str]: ...
    def reachable(self, interface: str, pairs: Iterable[Pair]) -> set[Pair]: ...
    def mount(self) -> None: ...


class _Real:
    """The machine itself."""

    def attach(
        self, interface: str, *, xdp: str, ring_bytes: int, ring_count: int, unmatched_drop: bool
    ) -> DataPath:
        from fwdcap.datapath.datapath import Datapath

        return Datapath.attach(
            interface,
            xdp=xdp,
            ring_bytes=ring_bytes,
            ring_count=ring_count,
            unmatched_drop=unmatched_drop,
        )

    def clear_away(self, interface: str) -> list[str] | None:
        from fwdcap.datapath import datapath

        return datapath.clear_away(interface)

    def directory(self, interface: str) -> Path:
        from fwdcap.datapath import pins

        return pins.interface_directory(interface)

    def open(self, interface: str) -> DataPath | None:
        from fwdcap.datapath.datapath import Datapath

        return Datapath.open(interface)

    def pinned(self) -> list[str]:
        from fwdcap.datapath import pins

        return pins.pinned_interfaces()

    def interface_names(self) -> list[str]:
        from fwdcap.datapath import links

        return links.interface_names()

    def info(self, interface: str) -> Interface | None:
        from fwdcap.datapath import links

        return cast(Interface | None, links.interface_info(interface))

    def facts(self, interface: str) -> Facts:
        from fwdcap.datapath import links

        return links.facts(interface)

    def beside(self, interface: str) -> list[str]:
        from fwdcap.datapath import links

        return links.interfaces_beside(interface)

    def reachable(self, interface: str, pairs: Iterable[Pair]) -> set[Pair]:
        from fwdcap.datapath import links, neighbours

        info = links.interface_info(interface)
        if info is None:
            return set()
        ways = [neighbours.Way(source, peer, info.ifindex) for source, peer in pairs]
        return {(way.source, way.destination) for way in neighbours.next_hops(ways)}

    def mount(self) -> None:
        from fwdcap.datapath import pins

        pins.mount_bpffs()


def real() -> Backend:
    """This machine's network."""
    return _Real()
