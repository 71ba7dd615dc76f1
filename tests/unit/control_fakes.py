"""A machine for the daemon's tests: interfaces, a data path, a ring and a recorder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from fwdcap import abi
from fwdcap.capture.accounts import Account, Accounts
from fwdcap.config import Settings
from fwdcap.control.service import Clocks, Service
from fwdcap.errors import Unavailable
from fwdcap.routes.check import Facts
from fwdcap.routes.model import Rule, RuleKey
from fwdcap.routes.plan import Plan, Put

RECORDER = (sys.executable, str(Path(__file__).with_name("fake_recorder.py")))
OURSELVES = Account("tester", 65534, 65534, switch=False)
ACCOUNTS = Accounts(OURSELVES, OURSELVES)
STARTED_NS = 1_800_000_000_000_000_000  # 2027-01-15 08:00:00 UTC
STREAM = "x_20270115_0800"
PATIENCE_S = 10.0

ROUTES = """\
[[route]]
name    = "demo"
client  = "10.0.0.1"
capture = "10.0.0.100"
server  = "10.0.0.2"
modes   = ["inline"]
"""


@dataclass
class Clock:
    """Time that passes only when told to."""

    ns: int = STARTED_NS

    def __call__(self) -> int:
        return self.ns

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1_000_000_000)


@dataclass
class FakeSource:
    """The ring and the counters of a data path; `pins` is where the fake recorder looks."""

    directory: Path
    there: bool = True
    active: bool = False
    snaplen: int | None = None
    states: list[abi.CpuState] = field(default_factory=lambda: [abi.CpuState(), abi.CpuState()])
    by_interface: dict[tuple[int, abi.Mode], tuple[int, int]] = field(default_factory=dict)

    def emit(self, records: int, lost: int = 0, frame_bytes: int = 100) -> None:
        """Packets pass: `records` reach the ring, `lost` do not fit."""
        state = self.states[records % 2]
        state.received_packets += records + lost
        state.emitted_records += records
        state.emitted_bytes += records * frame_bytes
        state.lost_records[abi.Loss.RING_FULL] += lost
        state.next_sequence += records + lost
        written = sum(state.emitted_records for state in self.states)
        (self.directory / "records").write_text(str(written))

    def _need(self) -> None:
        if not self.there:
            raise Unavailable("There is no data path.", code="no-datapath")

    def pins(self) -> Path | None:
        return self.directory if self.there else None

    def activate(self, snaplen: int) -> None:
        self._need()
        self.active, self.snaplen = True, snaplen
        self.states = [abi.CpuState(), abi.CpuState()]

    def deactivate(self) -> None:
        self._need()
        self.active = False

    def capture_active(self) -> bool:
        self._need()
        return self.active

    def cpu_states(self) -> list[abi.CpuState]:
        self._need()
        return self.states

    def interface_counts(self) -> dict[tuple[int, abi.Mode], tuple[int, int]]:
        self._need()
        return dict(self.by_interface)


@dataclass(frozen=True)
class FakeInterface:
    name: str
    ifindex: int = 7
    up: bool = True
    mtu: int = 1500
    driver: str | None = "veth"
    speed_mbit: int = 10_000
    addresses: tuple[IPv4Interface, ...] = (IPv4Interface("10.0.0.100/24"),)


class FakePath(FakeSource):
    """A data path whose rules are a dictionary."""

    def __init__(self, interface: str, directory: Path) -> None:
        super().__init__(directory)
        self.interface = interface
        self.ifindex = 7
        self.mode = "generic"
        self.why = "the driver has no native XDP"
        self.table: dict[RuleKey, Rule] = {}
        self.counts: dict[RuleKey, abi.RuleCounters] = {}
        self.seen: dict[abi.Reason, int] = dict.fromkeys(abi.Reason, 0)
        self.detached = False
        self.closed = False

    @property  # type: ignore[override]
    def pins(self) -> Path:
        return self.directory

    def rules(self) -> Mapping[RuleKey, Rule]:
        return self.table

    def apply(self, plan: Plan) -> None:
        for step in plan.steps:
            if isinstance(step, Put):
                self.table[step.key] = step.rule
            else:
                self.table.pop(step.key)

    def rule_counters(self) -> Mapping[RuleKey, abi.RuleCounters]:
        return self.counts

    def reasons(self) -> Mapping[abi.Reason, int]:
        return self.seen

    def ring_fill(self) -> tuple[int, int]:
        return 0, 1 << 20

    def tend(self) -> list[str]:
        return []

    def close(self) -> None:
        self.closed = True

    def detach(self) -> list[str]:
        self.detached = True
        return []


@dataclass
class FakeMachine:
    """The backend: interfaces by name, and data paths that outlive their daemon."""

    root: Path
    interfaces: dict[str, FakeInterface] = field(default_factory=dict)
    paths: dict[str, FakePath] = field(default_factory=dict)
    mounted: bool = False
    unreachable: set[IPv4Address] = field(default_factory=set)

    def plug(self, name: str) -> None:
        self.interfaces[name] = FakeInterface(name)

    def attach(
        self, interface: str, *, xdp: str, ring_bytes: int, ring_count: int, unmatched_drop: bool
    ) -> FakePath:
        path = self.paths.get(interface)
        if path is None or path.detached:
            pins = self.root / interface / "g1"
            pins.mkdir(parents=True, exist_ok=True)
            path = self.paths[interface] = FakePath(interface, pins)
        path.closed = False
        return path

    def directory(self, interface: str) -> Path:
        return self.root / interface

    def clear_away(self, interface: str) -> list[str] | None:
        return None

    def open(self, interface: str) -> FakePath | None:
        path = self.paths.get(interface)
        return path if path is not None and not path.detached else None

    def pinned(self) -> list[str]:
        return [name for name, path in self.paths.items() if not path.detached]

    def interface_names(self) -> list[str]:
        return list(self.interfaces)

    def info(self, interface: str) -> FakeInterface | None:
        return self.interfaces.get(interface)

    def facts(self, interface: str) -> Facts:
        info = self.interfaces.get(interface)
        ours = frozenset(address.ip for address in info.addresses) if info else frozenset()
        return Facts(interface, ours, ours, gateways=frozenset({IPv4Address("10.0.0.254")}))

    def beside(self, interface: str) -> list[str]:
        return []

    def reachable(
        self, interface: str, pairs: Iterable[tuple[IPv4Address, IPv4Address]]
    ) -> set[tuple[IPv4Address, IPv4Address]]:
        return {pair for pair in pairs if pair[1] not in self.unreachable}

    def mount(self) -> None:
        self.mounted = True


def settings(root: Path, interface: str | None = "cap0", routes: str | None = ROUTES) -> Settings:
    """Settings whose files lie in `root`."""
    tables: dict[str, dict[str, object]] = {
        "interface": {"name": interface},
        "store": {"path": root / "store"},
        "control": {"socket": root / "control.sock"},
    }
    if routes is not None:
        (root / "routes.toml").write_text(routes)
        tables["routes"] = {"file": root / "routes.toml"}
    return Settings.model_validate(tables)


def service(
    root: Path,
    machine: FakeMachine,
    clock: Clock,
    monotonic_ns: Callable[[], int] = time.monotonic_ns,
    **of: object,
) -> Service:
    """A service on a fake machine, not started."""
    return Service(
        settings(root, **of),  # type: ignore[arg-type]
        machine,
        accounts=ACCOUNTS,
        clocks=Clocks(clock, monotonic_ns),
        recorder_program=RECORDER,
    )


def eventually(what: Callable[[], object]) -> None:
    """Wait for another process to get there."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
