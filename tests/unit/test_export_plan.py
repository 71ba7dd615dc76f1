"""Ranges, words and errors of an export, without a process."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from export_kit import WEB
from hypothesis import given
from hypothesis import strategies as st
from store_builder import ROUTE, STARTED_NS, StreamBuilder, packets

from fwdcap import abi
from fwdcap.errors import Invalid, Unavailable
from fwdcap.store import scanplan
from fwdcap.store.export import Export, Limits, arguments, refusal
from fwdcap.store.ranges import ranges
from fwdcap.store.scanplan import Chapter, Gap, Range, encode, interfaces, moment
from fwdcap.store.segments import contents

pytestmark = pytest.mark.unit

COUNT = 12_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> StreamBuilder:
    """Three segments of 4,000 packets, a few index intervals each."""
    sent = packets(COUNT, 200)
    made = StreamBuilder(tmp_path_factory.mktemp("ranges")).add(sent[:4000]).roll()
    return made.add(sent[4000:8000]).roll().add(sent[8000:]).complete().write()


def pairs(words: list[str]) -> list[str]:
    """An option and its value each."""
    return [f"{name}={value}" for name, value in zip(words[::2], words[1::2], strict=True)]


def numbers(part: Range) -> range:
    """Which packets a range holds; all of them are 216 bytes long."""
    before = int(Path(part.path).stem) * 4000 + (part.offset - 24) // 216
    assert (part.offset - 24) % 216 == part.length % 216 == 0
    return range(before, before + part.length // 216)


def test_without_a_window_a_stream_is_its_segments(built: StreamBuilder) -> None:
    found = ranges(contents(built.directory), built.root / "streams")
    assert [part.path for part in found] == [f"{built.stream}/00000{n}.pcap" for n in range(3)]
    assert [part.first_tag for part in found] == [0, 0, 0]
    assert sum(part.length for part in found) == len(built.single()) - 24


@given(low=st.integers(-10, COUNT + 10), size=st.integers(1, COUNT), nudge=st.integers(-1, 1))
def test_ranges_hold_the_window_and_little_more(
    built: StreamBuilder, low: int, size: int, nudge: int
) -> None:
    start, stop = (STARTED_NS + n * 1_000_000 + nudge for n in (low, low + size))
    found = ranges(contents(built.directory), built.root / "streams", start, stop)
    held = [number for part in found for number in numbers(part)]
    wanted = [n for n in range(COUNT) if start <= STARTED_NS + n * 1_000_000 < stop]
    assert held == sorted(held)
    assert set(wanted) <= set(held)
    assert len(held) <= len(wanted) + 2 * abi.INDEX_BYTES // 216 + 2
    for part in found:
        assert part.first_tag == numbers(part).start % 4000
        assert part.tags_path == part.path.replace(".pcap", ".tags")


@pytest.mark.parametrize("damage", ["missing", "wrong"])
def test_index_that_does_not_fit_costs_time_not_packets(tmp_path: Path, damage: str) -> None:
    made = StreamBuilder(tmp_path).add(packets(5000, 200)).complete().write()
    index = made.directory / "000000.index"
    if damage == "missing":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[:-24] + bytes(24))
    start, stop = STARTED_NS + 4_990 * 1_000_000, STARTED_NS + 4_995 * 1_000_000
    (found,) = ranges(contents(made.directory), made.root / "streams", start, stop)
    assert set(range(4990, 4995)) <= set(numbers(found))


def test_plan_has_a_line_for_everything() -> None:
    chapter = Chapter(
        "s",
        (Range("s/0.pcap", "s/0.tags", 24, 100, 3), Range("s/1.pcap", None, 24, 7)),
        (7, 1),
        interfaces([ROUTE], {(1, abi.Mode.INLINE): (10, 2)}),
        (Gap(6, "second"), Gap(5, "first")),
        ("a\tb\nc",),
        system="Linux",
    )
    assert encode([chapter]).decode().splitlines() == [
        "fwdcap-scan-plan\t1",
        "stream\ts",
        "os\tLinux",
        "comment\ta b c",
        "select\t1",
        "select\t7",
        "interface\t1\tinline\t12\t2\torders-db/inline\t10.0.1.20 to 10.0.2.41 by 10.0.1.166, "
        "with the addresses of both ends, on no wire like this; outbound is to the server, "
        "inbound to the client",
        "gap\t5\tfirst",
        "gap\t6\tsecond",
        "segment\t24\t100\ts/0.pcap",
        "tags\t3\ts/0.tags",
        "segment\t24\t7\ts/1.pcap",
        "end",
    ]


@given(text=st.text(max_size=6000))
def test_no_text_breaks_the_plan(text: str) -> None:
    lines = encode([Chapter(text, (), comments=(text,))]).split(b"\n")
    assert len(lines) in (4, 5)  # an empty comment is none
    assert all(len(field) <= 4096 for line in lines for field in line.split(b"\t"))
    assert not any(byte < 32 and byte != 9 for line in lines for byte in line)


def test_interfaces_are_routes_by_modes() -> None:
    later = {**ROUTE, "modes": ["egress"], "name": "renamed"}
    found = interfaces([ROUTE, WEB, later, {"id": "x"}, {"name": "no id"}])
    assert [each.name for each in found] == [
        "renamed/inline",
        "renamed/egress",
        "web/ingress",
        "web/inline",
        "web/egress",
    ]
    assert {each.received for each in found} == {None}


def test_arguments_are_what_was_asked_for() -> None:
    wanted = Export(
        format="pcapng",
        start_ns=-5,
        stop_ns=7,
        filters=("tcp", "port 80"),
        modes=frozenset({abi.Mode.EGRESS, abi.Mode.INGRESS}),
        direction=abi.Direction.TO_SERVER,
        snaplen=64,
        gzip=9,
    )
    said = (
        "--format=pcapng --start=0 --stop=7 --filter=tcp --filter=port 80 --mode=ingress "
        "--mode=egress --direction=to-server --snaplen=64 --gzip=9"
    )
    assert " ".join(pairs(arguments(wanted))) == said
    assert arguments(Export()) == ["--format", "pcap"]
    assert (wanted.suffix, Export().suffix) == (".pcapng.gz", ".pcap")
    with pytest.raises(Invalid):
        arguments(replace(wanted, gzip=11))


@pytest.mark.parametrize(
    ("code", "said", "kind", "sentence"),
    [
        (
            2,
            "fwdcap-scan: filter 2 at 4: can't parse filter expression: syntax error\n",
            Invalid,
            "The filter has a mistake at character 5, 'prt': syntax error.",
        ),
        (2, "fwdcap-scan: nonsense\n", Invalid, "The export cannot be made: nonsense."),
        (1, "fwdcap-scan: x ends at 7\n", Unavailable, "The export broke off: x ends at 7."),
        (1, "", Unavailable, "The export broke off: fwdcap-scan ended with 1."),
        (
            -signal.SIGSEGV,
            "",
            Unavailable,
            "The export broke off: fwdcap-scan ended by SIGSEGV.",
        ),
        (
            -signal.SIGXCPU,
            "",
            Unavailable,
            "The export took more than 3600 s of processor time.",
        ),
    ],
)
def test_an_end_becomes_an_error(code: int, said: str, kind: type, sentence: str) -> None:
    error = refusal(code, said, Export(filters=("ip", "tcp prt")), Limits())
    assert (type(error), error.message) == (kind, sentence)


def test_position_counts_characters_not_bytes() -> None:
    line = f"fwdcap-scan: filter 1 at {len('ä ö '.encode())}: syntax error"
    error = refusal(2, line, Export(filters=("ä ö ü",)), Limits())
    assert "at character 5," in error.message


def test_moments_are_exact() -> None:
    assert moment(STARTED_NS + 1) == "2015-06-20 11:28:56.000000001 UTC"
    assert moment(10**30) == f"{10**30} ns"
    assert scanplan.word(abi.Loss.RING_FULL) == "ring-full"
