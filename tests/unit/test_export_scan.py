"""Exports as pcap: the bytes of the store, less what was not asked for."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from export_kit import (
    CLIENT,
    WEB,
    as_records,
    exported,
    plan_of,
    records,
    retag,
    scan,
    stream,
    tag,
    traffic,
)
from hypothesis import given
from hypothesis import strategies as st
from store_builder import STARTED_NS, StreamBuilder, example, packets

from fwdcap import abi
from fwdcap.errors import FwdcapError, Invalid, NotFound, Unavailable
from fwdcap.store import export as exports
from fwdcap.store import pcap
from fwdcap.store.chapters import chapters
from fwdcap.store.export import Export, Limits, check_filter, open_export, open_exports
from fwdcap.store.scanplan import encode

pytestmark = pytest.mark.unit

FILTERS = (
    "",
    "tcp",
    "tcp port 80",
    "udp port 53 and not ip6",
    f"src host {CLIENT} and dst net 10.0.2.0/24",
    "vlan and tcp port 443",
    "icmp or arp",
    "ip6",
    "tcp[tcpflags] & tcp-syn != 0 and tcp[tcpflags] & tcp-ack == 0",
    "greater 700",
    "ip[6:2] & 0x1fff != 0",
    "ether host 02:00:00:00:00:01 and port domain",
    "not (ip or ip6)",
    "host 203.0.113.9",
)


def test_all_of_a_stream_is_its_single_pcap(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    assert exported(tmp_path, built, Export()) == built.single()


def test_running_stream_ends_at_its_committed_length(tmp_path: Path) -> None:
    built = StreamBuilder(tmp_path).add(packets(10)).write(tail=b"\xff" * 5000)
    assert exported(tmp_path, built, Export()) == built.single()


@pytest.mark.parametrize("leave", ["stream.json", "checkpoint"])
def test_empty_stream_is_a_header(tmp_path: Path, leave: str) -> None:
    built = StreamBuilder(tmp_path).complete().write()
    for path in built.directory.iterdir():
        if path.name != leave:
            path.unlink()
    assert exported(tmp_path, built, Export(filters=("tcp",))) == pcap.file_header()


@pytest.mark.parametrize("text", FILTERS)
def test_filter_means_what_tcpdump_says(tmp_path: Path, text: str) -> None:
    built = stream(tmp_path, traffic())
    command = ["tcpdump", "--nano", "-r", "-", "-w", "-", *([text] if text else [])]
    said = subprocess.run(command, input=built.single(), capture_output=True, check=True)
    assert exported(tmp_path, built, Export(filters=(text,))) == said.stdout


def test_all_filters_must_match(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    one = exported(tmp_path, built, Export(filters=("ip and tcp port 80",)))
    assert exported(tmp_path, built, Export(filters=("ip or arp", "tcp port 80"))) == one
    # A bracket too many does not open what another filter closed.
    with pytest.raises(Invalid):
        open_export(tmp_path, built.stream, Export(filters=("tcp) or (tcp", "udp")))


@pytest.mark.parametrize("snaplen", [1, 54, 60, 61, 100, 262144])
def test_snaplen_cuts_and_keeps_the_length(tmp_path: Path, snaplen: int) -> None:
    sent = traffic()
    data = exported(tmp_path, stream(tmp_path, sent), Export(snaplen=snaplen))
    assert int.from_bytes(data[16:20], "little") == snaplen
    assert [(each.ns, each.frame, each.length) for each in records(data)] == [
        (each.ns, each.frame[:snaplen], len(each.frame)) for each in sent
    ]


def test_filter_sees_what_snaplen_cuts_off(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    cut = exported(tmp_path, built, Export(filters=("tcp port 80",), snaplen=20))
    assert len(records(cut)) == len(
        records(exported(tmp_path, built, Export(filters=("tcp port 80",))))
    )


@pytest.mark.parametrize("level", [1, 6, 9])
def test_gzip_is_there_and_back(tmp_path: Path, level: int) -> None:
    built = StreamBuilder(tmp_path).add(packets(30000, 200)).complete().write()
    data = exported(tmp_path, built, Export(gzip=level))
    assert gzip.decompress(data) == built.single()
    assert len(data) < len(built.single())


@given(start=st.integers(-2, 62), stop=st.integers(-2, 62), nudge=st.integers(-1, 1))
def test_window_is_half_open(
    tmp_path_factory: pytest.TempPathFactory, start: int, stop: int, nudge: int
) -> None:
    sent = traffic()
    root = tmp_path_factory.getbasetemp() / "window"
    built = stream(root, sent) if not root.exists() else StreamBuilder(root)
    low, high = (STARTED_NS + n * 1_000_000_001 + nudge for n in (start, stop))
    if low >= high:
        with pytest.raises(Invalid):
            open_export(root, built.stream, Export(start_ns=low, stop_ns=high))
        return
    data = exported(root, built, Export(start_ns=low, stop_ns=high))
    assert records(data) == as_records([each for each in sent if low <= each.ns < high])


def test_window_reads_only_the_intervals_it_needs(tmp_path: Path) -> None:
    sent = packets(60_000, 100)  # 7 MB: many entries
    built = stream(tmp_path, sent)
    low, high = sent[30_000].ns, sent[31_000].ns
    plan = encode(chapters(tmp_path, (built.stream,), Export(start_ns=low, stop_ns=high)))
    done = scan(plan, "--statistics", directory=tmp_path / "streams")
    assert int(statistics(done.stderr)["read_records"]) < 6_000
    data = exported(tmp_path, built, Export(start_ns=low, stop_ns=high))
    assert records(data) == as_records(sent[30_000:31_000])


@pytest.mark.parametrize(
    ("export", "wanted"),
    [
        (Export(routes=("orders-db",)), lambda t: t.route_id == 1),
        (Export(routes=("web",)), lambda t: t.route_id == 2),
        (Export(routes=("web", "orders-db")), lambda _: True),
        (Export(modes=frozenset({abi.Mode.INLINE})), lambda t: t.mode_direction & 15 == 2),
        (
            Export(modes=frozenset({abi.Mode.INGRESS, abi.Mode.EGRESS})),
            lambda t: t.mode_direction & 5,
        ),
        (Export(direction=abi.Direction.TO_CLIENT), lambda t: t.mode_direction >> 4 == 1),
        (
            Export(
                routes=("web",), modes=frozenset({abi.Mode.EGRESS}), start_ns=STARTED_NS + 10**10
            ),
            lambda t: t.route_id == 2 and t.mode_direction & 4,
        ),
    ],
)
def test_tags_choose_routes_modes_and_ways(tmp_path: Path, export: Export, wanted) -> None:  # type: ignore[no-untyped-def]
    sent = traffic()
    built = stream(tmp_path, sent)
    retag(built)
    kept = [
        each for n, each in enumerate(sent) if wanted(tag(n)) and each.ns >= (export.start_ns or 0)
    ]
    assert kept
    assert records(exported(tmp_path, built, export)) == as_records(kept)


def test_window_finds_the_tags_of_its_records(tmp_path: Path) -> None:
    sent = packets(30_000, 100)
    built = stream(tmp_path, sent)
    retag(built)
    low, high = sent[12_345].ns, sent[22_222].ns
    data = exported(tmp_path, built, Export(start_ns=low, stop_ns=high, routes=("orders-db",)))
    kept = [each for n, each in enumerate(sent) if tag(n).route_id == 1 and low <= each.ns < high]
    assert records(data) == as_records(kept)


def test_several_streams_are_one_file(tmp_path: Path) -> None:
    first, second = packets(5), packets(7, start_ns=STARTED_NS + 10**12)
    StreamBuilder(tmp_path, stream="one").add(first).complete().write()
    StreamBuilder(tmp_path, stream="two").add(second).complete().write()
    with open_exports(tmp_path, ("one", "two"), Export()) as process:
        assert records(b"".join(process)) == as_records([*first, *second])


# ---- refusals


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tcp prt 80", "at character 5, 'prt 80': syntax error."),
        ("tcp and", "at its end: syntax error."),
        ("ip and host nosuch.example", "at character 13, 'nosuch.example': unknown host"),
        ("tcp)", "at character 4, ')'"),
        ("port 80 and port 99999", "at character 18, '99999': illegal port number"),
        ("inbound", "at character 1, 'inbound'"),
        ("tcp and ä", "at character 9, "),
    ],
)
def test_mistake_in_a_filter_has_its_place(tmp_path: Path, text: str, said: str) -> None:
    built = example(tmp_path)
    for refuse in (
        lambda: check_filter(text),
        lambda: open_export(tmp_path, built.stream, Export(filters=("tcp", text))),
    ):
        with pytest.raises(Invalid, match="The filter has a mistake") as refused:
            refuse()
        assert said in refused.value.message
        assert refused.value.code == "bad-filter"


@pytest.mark.parametrize(
    "text", ["(" * 8000, "not " * 4000 + "tcp", "ip[" * 5000, "tcp or " * 2300 + "tcp"]
)
def test_monstrous_filter_ends(text: str) -> None:
    assert outcome_of(text) in ("fine", "bad-filter", "export-too-long")


@pytest.mark.parametrize(
    "export",
    [
        Export(snaplen=-1),
        Export(snaplen=262145),
        Export(gzip=10),
        Export(start_ns=5, stop_ns=5),
        Export(stop_ns=1 << 64),
        Export(filters=("tcp\0",)),
        Export(filters=("tcp",) * 17),
        Export(filters=("x" * 16385,)),
        Export(routes=("nosuch",)),
    ],
)
def test_senseless_export_is_refused_before_it_begins(tmp_path: Path, export: Export) -> None:
    built = example(tmp_path)
    with pytest.raises(Invalid):
        open_export(tmp_path, built.stream, export)


@pytest.mark.parametrize("name", ["none", "../streams", "a/b", "x" * 999])
def test_no_such_stream(tmp_path: Path, name: str) -> None:
    example(tmp_path)
    with pytest.raises(NotFound):
        open_export(tmp_path, name, Export())


def test_route_that_is_not_known_names_those_that_are(tmp_path: Path) -> None:
    built = example(tmp_path)
    retag(built)
    with pytest.raises(Invalid, match="'nosuch'") as refused:
        open_export(tmp_path, built.stream, Export(routes=("web", "nosuch")))
    assert refused.value.hint == "Its routes are orders-db, web."
    assert WEB["name"] in refused.value.hint


def test_missing_tags_are_an_error_only_where_they_decide(tmp_path: Path) -> None:
    built = example(tmp_path)
    for path in built.directory.glob("*.tags"):
        path.unlink()
    assert exported(tmp_path, built, Export()) == built.single()
    with pytest.raises(Unavailable, match="has no tags"):
        exported(tmp_path, built, Export(modes=frozenset({abi.Mode.INLINE})))


def test_segment_that_breaks_off_is_an_error_after_what_came_before(tmp_path: Path) -> None:
    built = example(tmp_path)
    last = sorted(built.directory.glob("*.pcap"))[-1]
    os.truncate(last, last.stat().st_size - 1)
    with open_export(tmp_path, built.stream, Export()) as process:
        got: list[bytes] = []
        with pytest.raises(Unavailable, match="The export broke off") as refused:
            got.extend(process)
    assert b"".join(got) == built.single()[:-76]
    assert str(tmp_path) not in refused.value.message


# ---- the process


def test_header_comes_before_anything_is_found(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    with open_export(tmp_path, built.stream, Export(filters=("host 203.0.113.9",))) as process:
        assert process.read() == pcap.file_header()
        assert process.read() == b""


@pytest.mark.parametrize("arguments", [(), ("--filter", "host 203.0.113.9"), ("--gzip", "1")])
def test_ends_quietly_when_nobody_reads_on(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    segment = pcap.file_header() + packets(1, 1500)[0].record * 20_000
    plan = plan_of(tmp_path, segment, times=200)  # more than any pipe holds
    child = subprocess.Popen(
        [exports.PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(plan)
        child.stdin.close()
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(30) == 0


def test_closing_ends_the_process(tmp_path: Path) -> None:
    built = StreamBuilder(tmp_path).add(packets(30_000, 1000)).complete().write()
    process = open_export(tmp_path, built.stream, Export())
    process.close()
    assert process.read() == b""
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_statistics(tmp_path: Path) -> None:
    sent = traffic()
    segment = pcap.file_header() + b"".join(each.record for each in sent)
    done = scan(plan_of(tmp_path, segment), "--statistics", "--filter", "arp", directory=tmp_path)
    found = statistics(done.stderr)
    kept = [each for each in sent if each.frame[12:14] == b"\x08\x06"]
    assert found["read_records"] == str(len(sent))
    assert found["read_bytes"] == str(len(segment) - 24)
    assert found["matched_records"] == str(len(kept))
    assert found["matched_bytes"] == str(sum(len(each.record) for each in kept))
    assert found["written_bytes"] == str(len(done.stdout))


def test_takes_its_limits_and_its_place(tmp_path: Path) -> None:
    """It stops at a limit of processor time; memory too small for it is said."""
    plan = plan_of(tmp_path, pcap.file_header())
    done = scan(plan, "--memory-bytes", "1000000", directory=tmp_path)
    assert done.returncode == 1
    assert b"Cannot allocate memory" in done.stderr
    refused = exports.refusal(-signal.SIGXCPU, "", Export(), Limits(cpu_seconds=7))
    assert "more than 7 s" in refused.message
    child = subprocess.Popen(
        [exports.PROGRAM, "--nice", "7", "--seconds", "60", "--idle-io"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(plan.removesuffix(b"end\n"))
        child.stdin.flush()
        status = wait_until_confined(child.pid)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == 7
        assert resource.prlimit(child.pid, resource.RLIMIT_CPU) == (60, 61)
        assert "NoNewPrivs:\t1" in status
        assert "CapPrm:\t0000000000000000" in status
        child.stdin.write(b"end\n")
        child.stdin.close()
        assert child.stdout.read() == pcap.file_header()


def outcome_of(text: str) -> str:
    try:
        check_filter(text)
    except FwdcapError as error:
        return error.code
    return "fine"


def test_a_second_of_processor_time_is_no_more(tmp_path: Path) -> None:
    segment = pcap.file_header() + packets(1, 1500)[0].record * 20_000
    plan = plan_of(tmp_path, segment, times=20_000)
    arguments = ("--seconds", "1", "--filter", "host 203.0.113.9")
    done = scan(plan, *arguments, directory=tmp_path)
    assert done.returncode == -signal.SIGXCPU
    assert done.stdout == pcap.file_header()


def wait_until_confined(pid: int) -> str:
    """Its status once it has fenced itself in, which is the last it gives up."""
    while "Seccomp:\t2" not in (status := Path(f"/proc/{pid}/status").read_text()):
        os.sched_yield()
    return status


def statistics(said: bytes) -> dict[str, str]:
    kind, *pairs = said.decode().split()
    assert kind == "statistics"
    return dict(pair.split("=") for pair in pairs)
