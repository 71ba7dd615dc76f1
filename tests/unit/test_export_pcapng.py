"""Exports as pcapng, read by Wireshark's tools and by libpcap."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from export_kit import WEB, exported, records, retag, stream, tag, traffic
from store_builder import ROUTE, STARTED_NS, Packet, StreamBuilder, packets

from fwdcap import abi
from fwdcap.store import stream_json
from fwdcap.store.export import Export, open_exports
from fwdcap.store.scanplan import word

pytestmark = pytest.mark.unit

NG = Export(format="pcapng")


def fields(data: bytes, *names: str, shark: tuple[str, ...] = ()) -> list[list[str]]:
    """Those fields of every packet, as tshark prints them."""
    wanted = [part for name in names for part in ("-e", name)]
    command = ["tshark", "-r", "-", *shark, "-T", "fields", *wanted]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    return [line.split("\t") for line in done.stdout.decode().splitlines()]


def blocks(data: bytes, *names: str) -> list[str]:
    """Values of those fields of the file's blocks, as Wireshark dissects the file itself."""
    wanted = [part for name in names for part in ("-e", name)]
    shark = ["-X", "read_format:MIME Files Format", "-E", "aggregator=|"]
    command = ["tshark", "-r", "-", *shark, "-T", "fields", *wanted]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    return done.stdout.decode().rstrip("\n").split("\t")


def capinfos(data: bytes, path: Path) -> str:
    path.write_bytes(data)
    return subprocess.run(["capinfos", path], capture_output=True, check=True, text=True).stdout


def expected_interface(number: int) -> str:
    found = tag(number)
    name = {1: ROUTE["name"], 2: WEB["name"]}[found.route_id]
    return f"{name}/{word(abi.Mode(found.mode_direction & 15))}"


def lossy(root: Path, **words: object) -> StreamBuilder:
    """Twenty packets a millisecond apart, three lost from the tenth on."""
    built = StreamBuilder(root, lost=3).add(packets(20)).complete().write()
    first, last = built.started_ns + 10_000_000, built.started_ns + 12_000_001
    told = replace(built.words(), first_loss_ns=first, last_loss_ns=last, **words)
    stream_json.write(built.directory / stream_json.FILE, told)
    return built


def test_times_lengths_and_interfaces_are_those_of_the_records(tmp_path: Path) -> None:
    sent = traffic()
    built = stream(tmp_path, sent)
    retag(built)
    found = fields(
        exported(tmp_path, built, NG),
        "frame.time_epoch",
        "frame.interface_name",
        "frame.len",
        "frame.packet_flags_direction",
    )
    ways = {0: "0x00000002", 1: "0x00000001"}  # outbound is to the server
    assert found == [
        [
            f"{each.ns // 10**9}.{each.ns % 10**9:09}",
            expected_interface(number),
            str(len(each.frame)),
            ways[tag(number).mode_direction >> 4],
        ]
        for number, each in enumerate(sent)
    ]


@pytest.mark.parametrize("snaplen", [0, 60])
def test_frames_are_those_of_the_pcap(tmp_path: Path, snaplen: int) -> None:
    built = stream(tmp_path, traffic())
    data = exported(tmp_path, built, replace(NG, snaplen=snaplen))
    command = ["tcpdump", "--nano", "-r", "-", "-w", "-"]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    plain = exported(tmp_path, built, Export(snaplen=snaplen))
    assert records(done.stdout) == records(plain)


def test_capinfos_names_every_interface(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    retag(built)
    said = capinfos(exported(tmp_path, built, NG), tmp_path / "x.pcapng")
    assert "Number of packets:   60" in said
    assert "File timestamp precision:  nanoseconds (9)" in said
    assert "Number of interfaces in file: 4" in said
    for number in range(4):
        assert f"Name = {expected_interface(number)}\n" in said
    assert said.count("Description = 10.0.1.20 to 10.0.2.41 by 10.0.1.166") == 4
    assert said.count("Number of packets = 15\n") == 4
    assert said.count("Number of stat entries = 1\n") == 4
    assert "Capture application: fwdcap" in said
    assert f"Stream {built.stream}, complete, on cap0" in said


def test_loss_is_counted_at_the_interface_and_said_where_it_was(tmp_path: Path) -> None:
    built = lossy(tmp_path)
    data = exported(tmp_path, built, NG)
    said = fields(data, "frame.number", "frame.comment")
    commented = [row for row in said if row[1]]
    assert [row[0] for row in commented] == ["11"]  # the first one after records went missing
    assert commented[0][1] == (
        "3 records lost between 2015-06-20 11:28:56.010000000 UTC "
        "and 2015-06-20 11:28:56.012000001 UTC: ring-full 3"
    )
    received, dropped = blocks(
        data,
        "pcapng.options.option.data.interface.received",
        "pcapng.options.option.data.interface.dropped",
    )
    assert (received, dropped) == ("23", "3")


def test_loss_of_each_interface_where_it_was_counted(tmp_path: Path) -> None:
    counted = [
        {"route_id": 1, "mode": "inline", "recorded": 20, "lost": 2},
        {"route_id": 2, "mode": "egress", "recorded": 0, "lost": 1},
    ]
    lost = {"ring-full": 3}
    built = lossy(tmp_path, routes=(ROUTE, WEB), counters={"lost": lost, "interfaces": counted})
    data = exported(tmp_path, built, NG)
    assert blocks(
        data,
        "pcapng.options.option.data.interface.received",
        "pcapng.options.option.data.interface.dropped",
    ) == ["22|1", "2|1"]


def test_losses_are_said_where_each_was(tmp_path: Path) -> None:
    built = StreamBuilder(tmp_path, lost=3).add(packets(20)).complete().write()
    times = [built.started_ns + ms * 1_000_000 for ms in (4, 5, 14, 15)]
    losses = (
        {"ring": 0, "reason": "ring-full", "records": 2, "first_ns": times[0], "last_ns": times[1]},
        {"ring": None, "reason": "disk", "records": 1, "first_ns": times[2], "last_ns": times[3]},
    )
    counters = {"lost": {"ring-full": 2, "disk": 1}}
    told = replace(built.words(), losses=losses, counters=counters)
    stream_json.write(built.directory / stream_json.FILE, told)
    said = fields(exported(tmp_path, built, NG), "frame.number", "frame.comment")
    first, second = (row for row in said if row[1])
    assert first[0] == "5"
    assert first[1].startswith("2 records lost between 2015-06-20 11:28:56.004000000 UTC and")
    assert first[1].endswith(": ring-full 2")
    assert second[0] == "15"
    assert second[1].endswith("11:28:56.015000000 UTC: disk 1")


def test_loss_of_one_route_and_mode_is_all_its_own(tmp_path: Path) -> None:
    """Also what the disk did not take, which the program counted as emitted."""
    counted = [{"route_id": 1, "mode": "inline", "recorded": 23, "lost": 0}]
    built = lossy(tmp_path, counters={"lost": {"disk": 3}, "interfaces": counted})
    assert blocks(
        exported(tmp_path, built, NG),
        "pcapng.options.option.data.interface.received",
        "pcapng.options.option.data.interface.dropped",
    ) == ["23", "3"]


def test_no_more_is_delivered_than_was_received(tmp_path: Path) -> None:
    counted = [
        {"route_id": 1, "mode": "inline", "recorded": 19, "lost": 3},
        {"route_id": 2, "mode": "egress", "recorded": 0, "lost": 0},
    ]
    lost = {"ring-full": 3}
    built = lossy(tmp_path, routes=(ROUTE, WEB), counters={"lost": lost, "interfaces": counted})
    received = "pcapng.options.option.data.interface.received"
    (said,) = blocks(exported(tmp_path, built, NG), received)
    assert said.split("|")[0] == "23"


def test_loss_of_nobody_knows_which_route_is_said(tmp_path: Path) -> None:
    counted = [
        {"route_id": 1, "mode": "inline", "recorded": 22, "lost": 1},
        {"route_id": 2, "mode": "egress", "recorded": 0, "lost": 0},
    ]
    lost = {"ring-full": 1, "disk": 2}
    built = lossy(tmp_path, routes=(ROUTE, WEB), counters={"lost": lost, "interfaces": counted})
    (comments,) = blocks(exported(tmp_path, built, NG), "pcapng.options.option.data.comment")
    assert "2 of the records lost were lost behind the interfaces' counters" in comments


def test_loss_behind_the_last_packet_is_said_at_the_end(tmp_path: Path) -> None:
    built = lossy(tmp_path)
    early = replace(NG, stop_ns=built.started_ns + 11_000_000, filters=("host 203.0.113.9",))
    (comments,) = blocks(exported(tmp_path, built, early), "pcapng.options.option.data.comment")
    assert "3 records lost between" in comments.split("|")[-1]


def test_loss_outside_the_window_is_not_said(tmp_path: Path) -> None:
    built = lossy(tmp_path)
    for window in (
        replace(NG, stop_ns=built.started_ns + 10_000_000),
        replace(NG, start_ns=built.started_ns + 12_000_002),
    ):
        rows = fields(exported(tmp_path, built, window), "frame.comment")
        assert rows
        assert all(row == [""] for row in rows)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    wanted = replace(
        NG, filters=("tcp", "port 80"), snaplen=60, routes=("orders-db",), start_ns=STARTED_NS
    )
    said = capinfos(exported(tmp_path, built, wanted), tmp_path / "x.pcapng")
    for sentence in (
        "Only what matches: tcp",
        "Only what matches: port 80",
        "Only routes orders-db.",
        "Frames are cut to 60 bytes.",
        "Only records from 2015-06-20 11:28:56.000000000 UTC on.",
    ):
        assert sentence in said
    assert "= (tcp) and (port 80)\n" in said


def test_packet_that_was_not_forwarded_has_a_verdict(tmp_path: Path) -> None:
    sent = traffic(20)
    built = stream(tmp_path, sent)
    retag(built)
    rows = fields(exported(tmp_path, built, NG), "frame.verdict.ebpf_xdp")
    assert [bool(row[0]) for row in rows] == [n % 10 == 9 for n in range(20)]
    assert {row[0] for row in rows if row[0]} == {"1"}  # XDP_DROP


@pytest.mark.parametrize("leave", ["stream.json", "checkpoint"])
def test_empty_stream_is_a_file_that_opens(tmp_path: Path, leave: str) -> None:
    built = StreamBuilder(tmp_path).complete().write()
    for path in built.directory.iterdir():
        if path.name != leave:
            path.unlink()
    data = exported(tmp_path, built, NG)
    done = subprocess.run(["tcpdump", "-r", "-"], input=data, capture_output=True, check=True)
    assert done.stdout == b""


def test_records_that_nobody_names_have_an_interface_all_the_same(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    retag(built)
    stream_json.write(built.directory / stream_json.FILE, replace(built.words(), routes=()))
    named = {row[0] for row in fields(exported(tmp_path, built, NG), "frame.interface_name")}
    assert named == {"route-1/inline", "route-2/ingress", "route-2/inline", "route-2/egress"}
    for path in built.directory.glob("*.tags"):
        path.unlink()
    named = {row[0] for row in fields(exported(tmp_path, built, NG), "frame.interface_name")}
    assert named == {"unknown"}


def test_route_added_while_it_ran_has_its_name(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    retag(built)
    changed = replace(built.words(), changes=({"time_ns": STARTED_NS, "routes": [ROUTE, WEB]},))
    stream_json.write(built.directory / stream_json.FILE, changed)
    named = {row[0] for row in fields(exported(tmp_path, built, NG), "frame.interface_name")}
    assert named == {expected_interface(number) for number in range(4)}


def test_many_routes_take_no_room_unless_they_are_used(tmp_path: Path) -> None:
    routes = tuple({**WEB, "id": n, "name": f"route {n}"} for n in range(1, 400))
    built = stream(tmp_path, traffic())
    stream_json.write(built.directory / stream_json.FILE, replace(built.words(), routes=routes))
    said = capinfos(exported(tmp_path, built, NG), tmp_path / "x.pcapng")
    assert "Number of interfaces in file: 1" in said
    assert "Name = route 1/inline" in said


def test_several_streams_keep_their_interfaces(tmp_path: Path) -> None:
    later = packets(7, start_ns=STARTED_NS + 10**12)
    StreamBuilder(tmp_path, stream="one").add(packets(5)).complete().write()
    other = StreamBuilder(tmp_path, stream="two").add(later).complete().write()
    stream_json.write(
        other.directory / stream_json.FILE,
        replace(other.words(), routes=({**ROUTE, "name": "renamed"},)),
    )
    with open_exports(tmp_path, ("one", "two"), NG) as process:
        data = b"".join(process)
    rows = fields(data, "frame.time_epoch", "frame.interface_name")
    assert [row[1] for row in rows] == ["orders-db/inline"] * 5 + ["renamed/inline"] * 7
    assert rows[5][0] == f"{later[0].ns // 10**9}.{later[0].ns % 10**9:09}"
    said = capinfos(data, tmp_path / "x.pcapng")
    assert "Description = two: 10.0.1.20" in said
    assert "Stream one, complete" in said
    assert "Stream two, complete" in said


def test_last_nanosecond_a_record_can_have(tmp_path: Path) -> None:
    ns = (2**32 - 1) * 10**9 + 999_999_999
    built = StreamBuilder(tmp_path).add([Packet(ns, bytes(60), 1500)]).complete().write()
    row = fields(exported(tmp_path, built, NG), "frame.time_epoch", "frame.len", "frame.cap_len")
    assert row == [[f"{2**32 - 1}.999999999", "1500", "60"]]
