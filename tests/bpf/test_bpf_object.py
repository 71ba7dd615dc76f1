"""The object itself: small enough for the verifier, and nothing that Linux 6.1 lacks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Bench
from packets import TO_SERVER, Sketch, route, tcp

from fwdcap import abi
from fwdcap.datapath import libbpf, objects

# BPF_FUNC_user_ringbuf_drain is the last helper of Linux 6.1 (include/uapi/linux/bpf.h).
LAST_HELPER = 209
# All paths added up, as of Linux 6.18. The kernel refuses at 1,000,000, and an older one may
# walk more of them: keep far below.
MOST_INSTRUCTIONS = 250_000

_CALL = re.compile(r"^\s*\d+:\s+((?:[0-9a-f]{2}[ \t]){8})\s*call ", re.MULTILINE)


def calls(bpf_object: Path) -> list[tuple[int, int]]:
    """(kind, number) of every call: kind 0 is a helper, 1 a function, 2 a kfunc."""
    listing = subprocess.run(
        ["llvm-objdump", "-d", str(bpf_object)], check=True, capture_output=True, text=True
    ).stdout
    words = [bytes.fromhex(match) for match in _CALL.findall(listing)]
    return [(word[1] >> 4, int.from_bytes(word[4:8], "little", signed=True)) for word in words]


def test_only_helpers_of_linux_6_1_are_called(bpf_object: Path) -> None:
    found = calls(bpf_object)
    assert len(found) > 5
    assert {kind for kind, _ in found} == {0, 1}, "a kfunc"
    assert max(number for kind, number in found if kind == 0) <= LAST_HELPER


def test_nothing_is_left_for_the_kernel_to_resolve(bpf_object: Path) -> None:
    """A kfunc would be an undefined symbol."""
    undefined = subprocess.run(
        ["llvm-nm", "--undefined-only", str(bpf_object)], check=True, capture_output=True, text=True
    ).stdout
    assert undefined == ""


@pytest.mark.parametrize("unmatched", ["pass", "drop"])
def test_the_verifier_has_little_to_read(
    bench: Bench, strict_bench: Bench, unmatched: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program = (bench if unmatched == "pass" else strict_bench).program
    info = Path(f"/proc/self/fdinfo/{program.fd}").read_text()
    found = re.search(r"^verified_insns:\s*(\d+)$", info, re.MULTILINE)
    assert found, info
    with capsys.disabled():
        print(f"\nunmatched = {unmatched}: the verifier read {found[1]} instructions")
    assert 100 < int(found[1]) < MOST_INSTRUCTIONS


def test_the_maps_are_as_the_contract_says(bench: Bench) -> None:
    maps = {name: libbpf.open_pinned_map(bench.directory / name) for name in objects.MAPS}
    sizes = {name: (found.key_size, found.value_size) for name, found in maps.items()}
    entries = {name: found.max_entries for name, found in maps.items()}
    for found in maps.values():
        found.close()
    assert sizes["rules4"] == (12, 80)
    assert sizes["rule_counters"] == (4, 128)
    assert sizes["capture"] == (4, 24)
    assert sizes["cpu_state"] == (4, 128)
    assert entries["rules4"] == entries["rule_counters"] == abi.MAX_RULES
    assert entries["reasons"] == abi.REASONS
    assert entries["rings"] == abi.MAX_RINGS
    assert entries["cpu_state"] == entries["scratches"] == libbpf.possible_cpus()


def test_nothing_stays_pinned(new_directory: Callable[[], Path], bpf_object: Path) -> None:
    directory = new_directory()
    with Bench(directory):
        assert {path.name for path in directory.iterdir()} == {*objects.MAPS, objects.RING}
    assert not directory.exists()


def test_a_newer_program_takes_over_rules_counters_and_records(
    new_directory: Callable[[], Path], bpf_object: Path
) -> None:
    """What an upgrade does: load again with the maps that are pinned."""
    frame = TO_SERVER.received(Sketch(tcp()))
    with Bench(new_directory()) as bench:
        bench.install(route())
        bench.send(frame)
        newer, maps = objects.load_program(bench.directory, ring_bytes=1 << 20, unmatched_drop=True)
        ran = newer.program("fwdcap").test_run(frame)
        newer.close()
        for found in maps.values():
            found.close()
        assert libbpf.XDP_VERDICTS[ran.verdict] == "tx"
        assert bench.tally(route().entries[0]).forwarded == 2
        assert [copy.sequence for copy in bench.read()] == [0, 1, 2, 3, 4, 5]
