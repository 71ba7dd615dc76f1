"""Several rings: each CPU emits into its own, and what is pinned stays as it was made."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import FAR_FUTURE_NS, pack_mac
from packets import TO_SERVER, Sketch, route, tcp

from fwdcap import abi
from fwdcap.datapath import codec, libbpf, objects
from fwdcap.errors import Unavailable

RING_BYTES = 1 << 16
HEAD_BYTES = 8
KEY = bytes(4)

Maps = dict[str, libbpf.Map]
Load = Callable[..., Maps]


@pytest.fixture
def directory(new_directory: Callable[[], Path], bpf_object: Path) -> Iterator[Path]:
    made = new_directory()
    made.mkdir()
    yield made
    shutil.rmtree(made)


@contextmanager
def loaded(
    directory: Path, ring_bytes: int = RING_BYTES, ring_count: int = 2
) -> Iterator[tuple[libbpf.Program, Maps]]:
    """What attaching does, without an interface."""
    program, maps = objects.load_program(
        directory, ring_bytes=ring_bytes, ring_count=ring_count, unmatched_drop=False
    )
    objects.prepare_capture(maps, 1500)
    yield program.program("fwdcap"), maps
    program.close()
    for opened in maps.values():
        opened.close()


def control(maps: Maps) -> abi.CaptureControl:
    return abi.CaptureControl.from_buffer_copy(maps["capture"].get(KEY) or b"")


def sizes(maps: Maps) -> list[int]:
    return [maps[name].max_entries for name in objects.ring_names(maps)]


def records(ring: libbpf.Map) -> list[abi.Record]:
    """All records of a ring that nobody has read from."""
    found: list[abi.Record] = []
    with mmap.mmap(ring.fd, mmap.PAGESIZE * 3, prot=mmap.PROT_READ, offset=mmap.PAGESIZE) as raw:
        end, at = int.from_bytes(raw[:8], "little"), 0
        while at < end:
            begin = mmap.PAGESIZE + at
            length = int.from_bytes(raw[begin : begin + 4], "little")
            found.append(abi.Record.from_buffer_copy(raw, begin + HEAD_BYTES))
            at += (length + HEAD_BYTES + 7) // 8 * 8
    return found


def put_route(maps: Maps) -> None:
    for entry in route().entries:
        value = abi.Rule.from_buffer_copy(codec.encode_rule(entry.rule, entry.slot, 0, None))
        assert entry.next_hop
        value.next_hop_checked_ns = FAR_FUTURE_NS
        value.next_hop_dmac = pack_mac(entry.next_hop.destination_mac)
        value.next_hop_smac = pack_mac(entry.next_hop.source_mac)
        value.next_hop_mtu = entry.next_hop.mtu
        maps["rules4"].put(codec.encode_key(entry.rule.key), bytes(value))


def test_each_cpu_emits_into_its_ring(directory: Path) -> None:
    cpus = os.sched_getaffinity(0)
    frame = TO_SERVER.received(Sketch(tcp()))
    with loaded(directory, ring_count=2) as (program, maps):
        put_route(maps)
        told = control(maps)
        told.active = 1
        maps["capture"].put(KEY, bytes(told))
        try:
            for cpu in sorted(cpus)[:4]:
                os.sched_setaffinity(0, {cpu})
                assert libbpf.XDP_VERDICTS[program.test_run(frame).verdict] == "tx"
        finally:
            os.sched_setaffinity(0, cpus)
        found = [[record.cpu for record in records(maps[f"ring{n}"])] for n in range(2)]
    modes = 3
    assert found == [
        [cpu for cpu in sorted(cpus)[:4] if cpu % 2 == ring for _ in range(modes)]
        for ring in range(2)
    ]


def test_as_many_rings_are_pinned_as_were_asked_for(directory: Path) -> None:
    with loaded(directory, ring_count=11) as (_, maps):
        assert sizes(maps) == [RING_BYTES] * 11
        assert (control(maps).nr_rings, control(maps).ring_bytes) == (11, RING_BYTES)
    rings = {f"ring{number}" for number in range(11)}
    assert {path.name for path in directory.iterdir()} == {*objects.MAPS, *rings}


def test_pinned_rings_keep_their_number_and_size(directory: Path) -> None:
    with loaded(directory, ring_count=2):
        pass
    with loaded(directory, ring_bytes=RING_BYTES * 4, ring_count=5) as (_, maps):
        assert sizes(maps) == [RING_BYTES] * 2
        assert (control(maps).nr_rings, control(maps).ring_bytes) == (2, RING_BYTES)


def test_rings_that_cannot_be_made_leave_none(directory: Path) -> None:
    with pytest.raises(Unavailable, match=r"refuses 2 rings of 1,000 bytes"):
        objects.load_program(directory, ring_bytes=1000, ring_count=2, unmatched_drop=False)
    assert not list(directory.glob("ring[0-9]*"))
