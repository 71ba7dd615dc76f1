"""The real program on one frame at a time, and everything it says about it.

`Bench` loads the object into maps of its own, pinned in a directory of its own,
and attaches it to nothing. Frames go through BPF_PROG_TEST_RUN, which runs on
the caller's CPU: the caller stays on one. Records are read from the ring as the
recorder reads them, by mapping it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from packets import Copy, CpuNumbers, Entry, Outcome, Setup, Tally

from fwdcap import abi
from fwdcap.datapath import codec, libbpf, objects

RING_BYTES = 1 << 19
FAR_FUTURE_NS = 1 << 61
_BUSY = 1 << 31
_DISCARDED = 1 << 30
_RECORD = struct.Struct("=QQIIIHHBBBBHH")
_COUNTERS = struct.Struct("=16Q")
_CPU_STATE = struct.Struct("=16Q")
_ZERO = bytes(4)


class Bench:
    """One loaded program with its maps; a context manager that leaves nothing pinned."""

    def __init__(
        self, directory: Path, *, unmatched_drop: bool = False, ring_bytes: int = RING_BYTES
    ) -> None:
        self.directory = directory
        self.unmatched_drop = unmatched_drop
        self.ring_bytes = ring_bytes
        self.cpu = min(os.sched_getaffinity(0))
        self._setup = Setup()

    def __enter__(self) -> Bench:
        self.directory.mkdir()
        self._object, self._maps = objects.load_program(
            self.directory, ring_bytes=self.ring_bytes, unmatched_drop=self.unmatched_drop
        )
        self.program = self._object.program("fwdcap")
        ring = self._maps[objects.RING].fd
        page = mmap.PAGESIZE
        self._consumer = mmap.mmap(ring, page)
        self._producer = mmap.mmap(
            ring, page + 2 * self.ring_bytes, prot=mmap.PROT_READ, offset=page
        )
        states = self._maps["cpu_state"]
        self._states = mmap.mmap(states.fd, states.max_entries * _CPU_STATE.size)
        self._write_control(Setup())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for mapped in (self._consumer, self._producer, self._states):
            mapped.close()
        self._object.close()
        for opened in self._maps.values():
            opened.close()
        shutil.rmtree(self.directory)

    # ---- what the program is told ----

    def install(self, setup: Setup) -> None:
        """Exactly these rules and this capture control."""
        assert setup.unmatched_drop == self.unmatched_drop, "that is a bench of its own"
        if setup == self._setup:
            return
        rules = self._maps["rules4"]
        for entry in self._setup.entries:
            rules.remove(codec.encode_key(entry.rule.key))
        for entry in setup.entries:
            self.put_rule(entry)
        self._write_control(setup)
        self._setup = setup

    def put_rule(self, entry: Entry, *, ifindex: int = 0, checked_ns: int = FAR_FUTURE_NS) -> None:
        """Write one rule; its next hop counts as looked up at `checked_ns`."""
        raw = codec.encode_rule(entry.rule, entry.slot, ifindex, None)
        value = abi.Rule.from_buffer_copy(raw)
        if entry.next_hop:
            value.next_hop_checked_ns = checked_ns
            value.next_hop_dmac = pack_mac(entry.next_hop.destination_mac)
            value.next_hop_smac = pack_mac(entry.next_hop.source_mac)
            value.next_hop_mtu = entry.next_hop.mtu
        self._maps["rules4"].put(codec.encode_key(entry.rule.key), bytes(value))

    def rule(self, entry: Entry) -> abi.Rule:
        """The rule as it is in the map now."""
        raw = self._maps["rules4"].get(codec.encode_key(entry.rule.key))
        return abi.Rule.from_buffer_copy(raw or b"")

    def age_next_hop(self, entry: Entry, age_ns: int) -> None:
        """Let the rule's next hop have been looked up `age_ns` ago."""
        value = self.rule(entry)
        value.next_hop_checked_ns = time.monotonic_ns() - age_ns
        self._maps["rules4"].put(codec.encode_key(entry.rule.key), bytes(value))

    def _write_control(self, setup: Setup) -> None:
        control = abi.CaptureControl(
            active=int(setup.recording),
            snaplen=setup.snaplen,
            nr_rings=1,
            interface_mtu=setup.interface_mtu,
            ring_bytes=self.ring_bytes,
        )
        self._maps["capture"].put(_ZERO, bytes(control))

    def reset(self) -> None:
        """Counters to zero and the ring empty; rules stay."""
        for slot in {entry.slot for entry in self._setup.entries if entry.slot < abi.MAX_RULES}:
            self._maps["rule_counters"].put(_key(slot), bytes(_COUNTERS.size))
        for reason in range(abi.REASONS):
            self._maps["reasons"].put(_key(reason), bytes(8))
        self._states[:] = bytes(len(self._states))
        self._consumer[:8] = self._producer[:8]

    # ---- one frame ----

    def run(self, frame: bytes, setup: Setup) -> Outcome:
        """What becomes of `frame` under `setup`, counted from zero."""
        self.install(setup)
        self.reset()
        before_ns = time.monotonic_ns()
        verdict, out = self.send(frame)
        after_ns = time.monotonic_ns()
        copies = self.read()
        assert all(copy.cpu == self.cpu for copy in copies)
        assert all(before_ns <= copy.time_ns <= after_ns for copy in copies)
        assert len({copy.time_ns for copy in copies}) <= 1, "copies of one packet, one time"
        return Outcome(
            verdict=verdict,
            frame=None if verdict == "drop" else out,
            copies=tuple(copies),
            tallies=tuple(self.tally(entry) for entry in setup.entries),
            reasons=self.reasons(),
            cpu=self.cpu_numbers(),
        )

    def send(
        self, frame: bytes, *, ingress_ifindex: int = 0, linear_bytes: int | None = None
    ) -> tuple[str, bytes]:
        """Verdict and frame, nothing reset before; a fragment has what is not linear."""
        ran = self.program.test_run(
            frame, ingress_ifindex=ingress_ifindex, linear_bytes=linear_bytes
        )
        return libbpf.XDP_VERDICTS[ran.verdict], ran.frame

    # ---- what it says ----

    def read(self, limit: int | None = None) -> list[Copy]:
        """Take up to `limit` records (all without) from the ring and free their room."""
        position = int.from_bytes(self._consumer[:8], "little")
        end = int.from_bytes(self._producer[:8], "little")
        copies: list[Copy] = []
        while position < end and (limit is None or len(copies) < limit):
            at = mmap.PAGESIZE + position % self.ring_bytes
            head = int.from_bytes(self._producer[at : at + 4], "little")
            assert not head & (_BUSY | _DISCARDED), "a record was left unfinished"
            copies.append(_decode(self._producer[at + 8 : at + 8 + head]))
            position += (head + 8 + 7) // 8 * 8
        self._consumer[:8] = position.to_bytes(8, "little")
        return copies

    def ring_used(self) -> int:
        """Bytes in the ring that nobody has taken."""
        return int.from_bytes(self._producer[:8], "little") - int.from_bytes(
            self._consumer[:8], "little"
        )

    def tally(self, entry: Entry) -> Tally:
        if entry.slot >= abi.MAX_RULES:
            return Tally()
        raw = self._maps["rule_counters"].per_cpu(_key(entry.slot))
        values = _COUNTERS.unpack(bytes(codec.sum_counters(raw)))
        assert not any(values[11:]), "reserved counters are not used"
        return Tally(*values[:5], values[5:8], values[8:11])

    def reasons(self) -> dict[abi.Reason, int]:
        """The reasons that were counted."""
        counts = {
            reason: sum(
                int.from_bytes(raw, "little") for raw in self._maps["reasons"].per_cpu(_key(reason))
            )
            for reason in abi.Reason
        }
        return {reason: count for reason, count in counts.items() if count}

    def cpu_numbers(self) -> CpuNumbers:
        """Of all CPUs; those that ran nothing must have counted nothing."""
        for cpu in range(len(self._states) // _CPU_STATE.size):
            assert cpu == self.cpu or not any(self._state(cpu)), f"CPU {cpu} counted"
        values = self._state(self.cpu)
        return CpuNumbers(*values[:5], values[5:9])

    def loss_times_ns(self) -> tuple[int, int]:
        """Monotonic time of the first and the last lost record, 0 when there is none."""
        first_ns, last_ns = self._state(self.cpu)[9:11]
        return first_ns, last_ns

    def _state(self, cpu: int) -> tuple[Any, ...]:
        return _CPU_STATE.unpack_from(self._states, cpu * _CPU_STATE.size)


def _key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def pack_mac(mac: str) -> int:
    """A MAC address as the rule keeps it: first octet in the lowest byte."""
    return int.from_bytes(bytes.fromhex(mac.replace(":", "")), "little")


def _decode(raw: bytes) -> Copy:
    (
        sequence,
        time_ns,
        length,
        caplen,
        route_id,
        cpu,
        interface,
        mode,
        direction,
        flags,
        l2_offset,
        link_type,
        reserved,
    ) = _RECORD.unpack_from(raw)
    frame = raw[_RECORD.size :][:caplen]
    # A small frame's place has one of a few sizes.
    assert len(frame) == caplen > len(raw) - _RECORD.size - 64
    return Copy(
        sequence=sequence,
        mode=abi.Mode(mode),
        direction=abi.Direction(direction),
        route_id=route_id,
        len=length,
        frame=frame,
        l2_offset=l2_offset,
        flags=flags,
        interface=interface,
        link_type=link_type,
        reserved=reserved,
        cpu=cpu,
        time_ns=time_ns,
    )


assert _RECORD.size == ctypes.sizeof(abi.Record)
assert _COUNTERS.size == ctypes.sizeof(abi.RuleCounters)
assert _CPU_STATE.size == ctypes.sizeof(abi.CpuState)
