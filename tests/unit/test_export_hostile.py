"""Whatever is in a segment, fwdcap-scan ends in order: what can be read, then a sentence.

Run with the checked build (address and undefined-behaviour sanitizers), so that
a mistake that does no harm by luck is a failure as well.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from export_kit import as_records, plan_of, records, scan, tag, traffic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builder import ROUTE, packets

from fwdcap.native import __file__ as native_file
from fwdcap.store import pcap
from fwdcap.store.scanplan import Chapter, Gap, Range, encode, interfaces

pytestmark = pytest.mark.unit

NATIVE = Path(native_file).parent
SENT = traffic(24)
RECORDS = b"".join(each.record for each in SENT)
SEGMENT = pcap.file_header() + RECORDS
TAGS = b"".join(bytes(tag(number)) for number in range(len(SENT)))
EVERYTHING = ("--format", "pcapng", "--filter", "ip or ip6", "--snaplen", "80", "--gzip", "1")


@pytest.fixture(scope="module")
def checked() -> Path:
    """The build that notices its own mistakes."""
    subprocess.run(["make", "-s", "-C", NATIVE, "sanitize", "fuzz"], check=True)
    return NATIVE / "build" / "checked"


def ended_in_order(done: subprocess.CompletedProcess[bytes]) -> bool:
    """0 and silent, or 1 and one sentence."""
    lines = done.stderr.decode().splitlines()
    if done.returncode == 0:
        return not lines
    return done.returncode == 1 and len(lines) == 1 and lines[0].startswith("fwdcap-scan: ")


@pytest.mark.parametrize("arguments", [(), EVERYTHING])
def test_segment_cut_anywhere(checked: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    whole = {24 + sum(len(each.record) for each in SENT[:n]): n for n in range(len(SENT) + 1)}
    for end in [*range(24, 400, 7), *whole, len(SEGMENT) - 1]:
        plan = plan_of(tmp_path, SEGMENT[:end], TAGS)
        program = checked / "fwdcap-scan"
        done = scan(plan, *arguments, directory=tmp_path, program=program)
        assert ended_in_order(done)
        assert (done.returncode == 0) == (end in whole)
        if not arguments:
            kept = max(number for length, number in whole.items() if length <= end)
            assert records(done.stdout) == as_records(SENT[:kept])


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (struct.pack("=IIII", 0, 0, 60, 60), "no time"),
        (struct.pack("=IIII", 1, 10**9, 60, 60), "too many nanoseconds"),
        (struct.pack("=IIII", 1, 0, 262145, 262145), "longer than any"),
        (struct.pack("=IIII", 1, 0, 60, 59), "more kept than there was"),
        (struct.pack("=IIII", 1, 0, 0xFFFFFFFF, 0xFFFFFFFF), "longer than all there is"),
    ],
)
def test_record_that_cannot_be_one(checked: Path, tmp_path: Path, header: bytes, why: str) -> None:
    plan = plan_of(tmp_path, SEGMENT + header + bytes(300000))
    done = scan(plan, directory=tmp_path, program=checked / "fwdcap-scan")
    assert done.stdout == SEGMENT, why
    sentence = f"0.pcap: what stands at {len(SEGMENT)} cannot be a record"
    assert sentence in done.stderr.decode()
    assert done.returncode == 1


@pytest.mark.parametrize(
    "head", [b"", SEGMENT[:23], bytes(24), b"\xd4\xc3\xb2\xa1" + SEGMENT[4:24], b"\n\r\r\n" * 6]
)
def test_what_is_no_segment_gives_nothing(checked: Path, tmp_path: Path, head: bytes) -> None:
    plan = plan_of(tmp_path, head + RECORDS[: 100 if len(head) == 24 else 0])
    done = scan(plan, directory=tmp_path, program=checked / "fwdcap-scan")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"0.pcap is not a segment" in done.stderr


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    at=st.integers(0, len(SEGMENT) - 1),
    garbage=st.binary(min_size=1, max_size=40),
    tags=st.binary(max_size=300),
    arguments=st.sampled_from([(), EVERYTHING, ("--mode", "egress"), ("--format", "pcapng")]),
)
def test_garbage_anywhere(
    checked: Path, tmp_path: Path, at: int, garbage: bytes, tags: bytes, arguments: tuple[str, ...]
) -> None:
    segment = SEGMENT[:at] + garbage + SEGMENT[at + len(garbage) :]
    plan = plan_of(tmp_path, segment, tags)
    done = scan(plan, *arguments, directory=tmp_path, program=checked / "fwdcap-scan")
    assert ended_in_order(done)


@pytest.mark.parametrize(
    "make",
    [lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero"), lambda path: None],
)
def test_path_that_is_no_file(checked: Path, tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "x.pcap")
    plan = encode([Chapter("s", (Range("x.pcap", None, 24, 100),))])
    done = scan(plan, directory=tmp_path, program=checked / "fwdcap-scan")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cannot open x.pcap" in done.stderr


FULL_PLAN = encode(
    [
        Chapter(
            "s",
            (Range("a.pcap", "a.tags", 24, 100, 3),),
            (1, 7),
            interfaces([ROUTE], None),
            (Gap(5, "lost"),),
            ("comment",),
            "hardware",
            "system",
            "application",
        )
    ]
)


def test_plan_that_is_cut_is_refused(checked: Path, tmp_path: Path) -> None:
    ends = [at + 1 for at, byte in enumerate(FULL_PLAN[:-4]) if byte in b"\n\t"]
    for end in [0, 1, *ends, len(FULL_PLAN) - 1]:
        done = scan(FULL_PLAN[:end], directory=tmp_path, program=checked / "fwdcap-scan")
        assert (done.returncode, done.stdout) == (2, b""), FULL_PLAN[:end]


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"segment\t24\t100\ta.pcap\n",
        b"stream\ts\nsegment\t23\t100\ta.pcap\n",
        b"stream\ts\nsegment\t24\t-1\ta.pcap\n",
        b"stream\ts\nsegment\t24\t99999999999999999999\ta.pcap\n",
        b"stream\ts\nsegment\t24\t100\n",
        b"stream\ts\nsegment\t24\t100\ta.pcap\tmore\n",
        b"stream\ts\ntags\t0\ta.tags\n",
        b"stream\ts\nselect\t2\nselect\t2\n",
        b"stream\ts\nselect\t4294967296\n",
        b"stream\ts\ninterface\t1\tsideways\t-\t-\tname\tdescription\n",
        b"stream\ts\ngap\t5\tlate\ngap\t4\tearly\n",
        b"stream\ts\nsomething\telse\n",
        b"stream\ts\x01\n",
        b"stream\ts\x7f\n",
        b"stream\t" + b"s" * 4097 + b"\n",
        b"stream\ts\nend\nstream\tt\n",
    ],
)
def test_plan_that_is_none_is_refused(checked: Path, tmp_path: Path, lines: bytes) -> None:
    plan = b"fwdcap-scan-plan\t1\n" + lines + b"end\n"
    done = scan(plan, directory=tmp_path, program=checked / "fwdcap-scan")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"of the plan cannot be used" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--format", "json"),
        ("--mode", "sideways"),
        ("--direction", "up"),
        ("--snaplen", "-1"),
        ("--snaplen", "262145"),
        ("--gzip", "10"),
        ("--start", "1e9"),
        ("--stop", "18446744073709551616"),
        ("--user", "root"),
        ("--nosuch",),
        ("surplus",),
        ("--filter", "x" * 16385),
        ("--filter", "tcp") * 17,
    ],
)
def test_wrong_command_line(checked: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    plan = plan_of(tmp_path, SEGMENT)
    done = scan(plan, *arguments, directory=tmp_path, program=checked / "fwdcap-scan")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr


def test_a_short_run_of_the_fuzzer_finds_nothing(checked: Path, tmp_path: Path) -> None:
    """The same seeds and the same order every time; `make fuzz` builds it for longer ones."""
    some = b"".join(each.record for each in packets(6))
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for flags in (0, 1, 4, 8 | 64, 1 | 2 | 64, 1 | 32 | 64, 16, 2 | 32, 1 | 4 | 8 | 16 | 32 | 64):
        head = bytes([flags, 40 if flags & 1 else 0, 6])
        (seeds / str(flags)).write_bytes(head + TAGS[:48] + pcap.file_header() + some)
    (seeds / "plan").write_bytes(b"\x80" + FULL_PLAN)
    command = [checked / "scan-fuzz", "-seed=1", "-runs=8000", "-max_total_time=8", "-max_len=2048"]
    done = subprocess.run([*command, seeds], capture_output=True, cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done" in done.stderr
