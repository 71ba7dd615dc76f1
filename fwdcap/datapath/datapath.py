"""The data path of one capture interface, as the daemon sees it.

`Datapath` owns the kernel objects and the settings that go with them: it
attaches or adopts, carries out plans of rules, switches emission on and off,
reads counters, and once a second tends to what the kernel may have lost
(neighbours, settings, the interface itself).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fwdcap import abi
from fwdcap.datapath import codec, libbpf, links, neighbours, objects, pins, settings
from fwdcap.errors import Unavailable
from fwdcap.routes.model import Rule, RuleKey
from fwdcap.routes.plan import Plan, Put

_ZERO = bytes(4)
_CPU_STATE_BYTES = ctypes.sizeof(abi.CpuState)


class Datapath:
    """One attached interface. Not thread-safe: its owner has a lock."""

    def __init__(
        self, interface: str, opened: objects.Objects, xdp: str, unmatched_drop: bool
    ) -> None:
        self.interface = interface
        self.pins: Path = opened.pins
        self._objects = opened
        self._xdp = xdp
        self._unmatched_drop = unmatched_drop
        self._up = True
        self._memory_freed = False
        self._unsaid: list[str] = []
        self._slots = self._used_slots()
        self._gone: Counter[tuple[int, abi.Mode, bool]] = Counter()  # records of rules removed

    @classmethod
    def attach(
        cls,
        interface: str,
        *,
        xdp: str = "auto",
        ring_bytes: int,
        ring_count: int = 1,
        unmatched_drop: bool = False,
    ) -> Datapath:
        """Attach to `interface`, or adopt what is pinned and replace its program.

        `ring_bytes` is the size of each ring. Raises Unavailable when there is no
        such interface or no XDP for it, Conflict when another XDP program is attached.
        """
        opened, why = objects.attach(
            interface,
            xdp=xdp,
            ring_bytes=ring_bytes,
            ring_count=ring_count,
            unmatched_drop=unmatched_drop,
        )
        datapath = cls(interface, opened, xdp, unmatched_drop)
        datapath._compare_rings(ring_count, ring_bytes)
        datapath._compare_mode(xdp)
        datapath._point_rules_here()
        settings.establish(interface, generic=datapath.mode == "generic", why=why or None)
        datapath._mind_next_hops()
        return datapath

    @classmethod
    def open(cls, interface: str) -> Datapath | None:
        """What is pinned for `interface`, untouched; None when nothing is."""
        opened = objects.adopt(interface)
        return cls(interface, opened, "auto", False) if opened else None

    # ---- what it is ----

    @property
    def ifindex(self) -> int:
        """0 while the interface is gone."""
        return libbpf.link_target(self._objects.link_fd)[0]

    @property
    def mode(self) -> str:
        """native or generic; '' while the interface is gone."""
        ifindex = self.ifindex
        attached = links.xdp_info(ifindex) if ifindex else None
        return attached.mode if attached else ""

    @property
    def why(self) -> str:
        """Why that mode, in a few words."""
        saved = settings.load(self.interface)
        return saved.why if saved else ""

    # ---- rules ----

    def rules(self) -> dict[RuleKey, Rule]:
        return {key: codec.decode_rule(key, value) for key, value in self._values()}

    def apply(self, plan: Plan) -> None:
        """Carry out the steps in order; the kernel knows new next hops before they are used."""
        wanted = [step.rule for step in plan.steps if isinstance(step, Put)]
        self._mind_next_hops([*self.rules().values(), *wanted])
        for step in plan.steps:
            if isinstance(step, Put):
                self._put(step.rule)
            else:
                self._remove(step.key)
        self._mind_next_hops()

    def rule_counters(self) -> dict[RuleKey, abi.RuleCounters]:
        counters = self._objects.maps["rule_counters"]
        return {
            key: codec.sum_counters(counters.per_cpu(value.slot.to_bytes(4, "little")))
            for key, value in self._values()
        }

    def interface_counts(self) -> dict[tuple[int, abi.Mode], tuple[int, int]]:
        """Records (emitted, lost) by route id and mode since the data path was attached.

        Routes that are gone are counted for as long as this object is there.
        """
        counts = Counter(self._gone)
        for _, value in self._values():
            counts.update(self._records_of(value))
        return {
            (route_id, mode): (counts[route_id, mode, False], counts[route_id, mode, True])
            for route_id, mode, lost in counts
            if not lost
        }

    def next_hops(self) -> dict[RuleKey, tuple[str, int]]:
        """MAC address ('' while unresolved) and path MTU in bytes, by rule."""
        return {
            key: (
                codec.format_mac(value.next_hop_dmac) if value.next_hop_dmac else "",
                value.next_hop_mtu,
            )
            for key, value in self._values()
        }

    def reasons(self) -> dict[abi.Reason, int]:
        """Frames by reason since the data path was attached."""
        counts = self._objects.maps["reasons"]
        return {
            reason: sum(
                int.from_bytes(raw, "little")
                for raw in counts.per_cpu(reason.to_bytes(4, "little"))
            )
            for reason in abi.Reason
        }

    # ---- capture ----

    def capture_active(self) -> bool:
        return bool(self._control().active)

    def activate(self, snaplen: int) -> None:
        """Start to emit records, counting from zero; `snaplen` 0 keeps whole frames."""
        states = self._objects.maps["cpu_state"]
        for cpu in range(states.max_entries):
            states.put(cpu.to_bytes(4, "little"), bytes(_CPU_STATE_BYTES))
        control = self._control()
        control.active, control.snaplen = 1, snaplen
        self._objects.maps["capture"].put(_ZERO, bytes(control))

    def deactivate(self) -> None:
        """Stop to emit; on return no program that still would is running."""
        control = self._control()
        control.active = 0
        self._objects.maps["capture"].put(_ZERO, bytes(control))
        self._let_programs_end()

    def cpu_states(self) -> list[abi.CpuState]:
        """One per possible CPU."""
        states = self._objects.maps["cpu_state"]
        return [
            abi.CpuState.from_buffer_copy(states.get(cpu.to_bytes(4, "little")) or b"")
            for cpu in range(states.max_entries)
        ]

    def ring_fill(self) -> tuple[int, int]:
        """Bytes in use and size of all rings together, in bytes."""
        rings = self._rings()
        return sum(map(_used_bytes, rings)), sum(ring.max_entries for ring in rings)

    # ---- life ----

    def tend(self) -> list[str]:
        """Once a second: put back what the kernel lost; returns what to log."""
        said, self._unsaid = self._unsaid, []
        name = links.interface_name(self.ifindex)
        if name and name != self.interface:
            said.append(self._follow_rename(name))
        info = links.interface_info(self.interface)
        if not info:
            return said
        if self.ifindex != info.ifindex:
            said.append(self._attach_again())
        said += settings.uphold(self.interface)
        if info.up and not self._up:
            said.append(f"Link of {self.interface} is up again.")
        self._up = info.up
        control = self._control()
        if control.interface_mtu != info.mtu:
            said.append(f"MTU of {self.interface} is now {info.mtu} bytes.")
            control.interface_mtu = info.mtu
            self._objects.maps["capture"].put(_ZERO, bytes(control))
        if info.up:
            self._mind_next_hops()
        return said

    def close(self) -> None:
        """Close descriptors; everything stays pinned, forwarding goes on."""
        self._objects.close()

    def detach(self) -> list[str]:
        """Remove program, pins and settings; returns what could not be restored."""
        with contextlib.suppress(OSError):
            neighbours.keep(self.ifindex, frozenset())
        self.close()
        objects.remove(self.interface)
        return settings.restore(self.interface)

    def _rings(self) -> list[libbpf.Map]:
        maps = self._objects.maps
        return [maps[name] for name in objects.ring_names(maps)]

    def _compare_rings(self, count: int, each_bytes: int) -> None:
        """Have `tend` say so when what is pinned is not what is asked for."""
        rings = self._rings()
        kept = (len(rings), rings[0].max_entries)
        if kept != (count, each_bytes):
            self._unsaid.append(
                f"The data path of {self.interface} keeps its {objects.sizes(*kept)}; "
                f"{objects.sizes(count, each_bytes)} will be made after `fwdcap datapath detach`."
            )

    def _compare_mode(self, xdp: str) -> None:
        """Have `tend` say so when the link that was there is of another mode."""
        if xdp not in ("auto", self.mode):
            self._unsaid.append(
                f"{self.interface} stays attached in {self.mode} mode; {xdp} mode will be used "
                "after `fwdcap datapath detach`."
            )

    def _attach_again(self) -> str:
        """The interface was deleted and made again: a new link, the same maps."""
        opened, why = objects.attach(
            self.interface, xdp=self._xdp, ring_bytes=0, unmatched_drop=self._unmatched_drop
        )
        self._objects.close()
        self._objects = opened
        self._point_rules_here()
        settings.establish(self.interface, generic=self.mode == "generic", why=why or None)
        return f"Interface {self.interface} is back; attached to it again."

    def _follow_rename(self, name: str) -> str:
        """The interface has a new name: pins and settings get it, too."""
        old, self.interface = self.interface, name
        objects.move(self.pins.parent, pins.interface_directory(name))
        self.pins = self._objects.pins = pins.generation_directory(name)
        return f"Interface {old} is called {name} now; name it so in [interface] name."

    # ---- the map of rules ----

    def _control(self) -> abi.CaptureControl:
        raw = self._objects.maps["capture"].get(_ZERO)
        if raw is None:
            raise Unavailable("The data path lost its control entry.", code="datapath-broken")
        return abi.CaptureControl.from_buffer_copy(raw)

    def _values(self) -> list[tuple[RuleKey, abi.Rule]]:
        rules = self._objects.maps["rules4"]
        return [
            (codec.decode_key(key), abi.Rule.from_buffer_copy(raw))
            for key in rules.keys()  # noqa: SIM118, not a dict
            if (raw := rules.get(key))
        ]

    def _used_slots(self) -> set[int]:
        return {value.slot for _, value in self._values()}

    def _put(self, rule: Rule) -> None:
        rules = self._objects.maps["rules4"]
        key = codec.encode_key(rule.key)
        raw = rules.get(key)
        old = abi.Rule.from_buffer_copy(raw) if raw else None
        slot = old.slot if old and old.route_id == rule.route_id else self._free_slot()
        self._write_rule(key, codec.encode_rule(rule, slot, self.ifindex, old), replaces=bool(old))
        if old and old.slot != slot:
            self._let_go(old)

    def _write_rule(self, key: bytes, value: bytes, *, replaces: bool) -> None:
        """Put one rule, in memory that no running program still reads another one from.

        The kernel gives the memory of a replaced or removed rule to the next one
        written; a program that had found the old rule would go on with the new.
        """
        if self._memory_freed:
            self._let_programs_end()
        self._objects.maps["rules4"].put(key, value)
        self._memory_freed = replaces

    def _let_programs_end(self) -> None:
        """Return when every program that runs now has ended.

        An update of a map of maps waits for that (kernel/bpf/syscall.c,
        maybe_wait_bpf_programs).
        """
        ring = self._objects.maps[objects.RING]
        self._objects.maps["rings"].put(_ZERO, ring.fd.to_bytes(4, "little"))
        self._memory_freed = False

    def _free_slot(self) -> int:
        """A slot nobody uses, its counters at zero."""
        counters = self._objects.maps["rule_counters"]
        slot = next((n for n in range(counters.max_entries) if n not in self._slots), None)
        if slot is None:
            raise Unavailable(
                f"The table of routes is full ({counters.max_entries // 2} routes).",
                code="too-many-routes",
                hint="Remove routes that are no longer needed.",
            )
        counters.put(slot.to_bytes(4, "little"), bytes(counters.value_size))
        self._slots.add(slot)
        return slot

    def _remove(self, key: RuleKey) -> None:
        rules = self._objects.maps["rules4"]
        raw_key = codec.encode_key(key)
        raw = rules.get(raw_key)
        rules.remove(raw_key)
        self._memory_freed = True
        if raw:
            self._let_go(abi.Rule.from_buffer_copy(raw))

    def _let_go(self, gone: abi.Rule) -> None:
        """Of a rule that is no longer there: keep what it counted, free its slot."""
        self._gone.update(self._records_of(gone))
        self._slots.discard(gone.slot)

    def _records_of(self, rule: abi.Rule) -> dict[tuple[int, abi.Mode, bool], int]:
        """Records by route id, mode and whether they were lost; of modes it has or has had."""
        raw = self._objects.maps["rule_counters"].per_cpu(int(rule.slot).to_bytes(4, "little"))
        counts = codec.sum_counters(raw)
        found: dict[tuple[int, abi.Mode, bool], int] = {}
        for at, mode in enumerate(abi.Mode):
            recorded, lost = int(counts.recorded_packets[at]), int(counts.lost_packets[at])
            if recorded or lost or rule.modes & mode:
                found[rule.route_id, mode, False] = recorded
                found[rule.route_id, mode, True] = lost
        return found

    def _point_rules_here(self) -> None:
        """After an interface was made again: rules leave by it, and forget what was known."""
        ifindex = self.ifindex
        for key, value in self._values():
            if value.egress_ifindex != ifindex:
                value.egress_ifindex = ifindex
                value.next_hop_dmac = value.next_hop_smac = value.next_hop_checked_ns = 0
                self._write_rule(codec.encode_key(key), bytes(value), replaces=True)

    def _mind_next_hops(self, rules: Iterable[Rule] | None = None) -> None:
        """Have the kernel know the neighbour of every rule that transmits."""
        ifindex = self.ifindex
        ways = {
            neighbours.Way(rule.new_source, rule.new_destination, ifindex)
            for rule in (self.rules().values() if rules is None else rules)
            if rule.action == abi.Action.TRANSMIT
        }
        neighbours.keep(ifindex, frozenset(neighbours.next_hops(ways).values()))


def _used_bytes(ring: libbpf.Map) -> int:
    """What is in a ring and not yet released."""
    page = mmap.PAGESIZE
    with mmap.mmap(ring.fd, page, prot=mmap.PROT_READ) as consumer:
        consumed = int.from_bytes(consumer[:8], "little")
    with mmap.mmap(ring.fd, page, prot=mmap.PROT_READ, offset=page) as producer:
        produced = int.from_bytes(producer[:8], "little")
    return produced - consumed


def clear_away(interface: str) -> list[str] | None:
    """Remove what a detach or attach cut short left behind; None when there is nothing.

    Returns what could not be restored, as sentences.
    """
    if not (pins.interface_directory(interface).exists() or settings.left_behind(interface)):
        return None
    objects.remove(interface)
    return settings.restore(interface)


def pinned_interfaces() -> list[str]:
    """Interfaces of this network namespace with a pinned data path."""
    return pins.pinned_interfaces()
