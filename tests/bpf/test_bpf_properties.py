"""Any packet, and any bytes: the program and the oracle agree on everything."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

import strategies
from harness import Bench
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from packets import (
    CLIENT_MAC,
    OUR_MAC,
    TO_CLIENT,
    TO_SERVER,
    NextHop,
    Outcome,
    Setup,
    Sketch,
    Way,
    dccp,
    no_operations,
    route,
    service_vlan,
    tcp,
    text,
    udp,
    udplite,
    vlan,
)
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from fwdcap.abi import Reason, RuleFlag

Relayed = Callable[[bytes, Setup], Outcome]

# make test-long asks for more.
RELAYED, HEARD = (int(os.environ.get("FWDCAP_EXAMPLES", usual)) for usual in (1000, 3000))

thorough = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@given(relay=strategies.RELAYS)
@settings(thorough, max_examples=RELAYED)
def test_a_packet_of_a_route_is_what_scapy_builds_with_the_new_addresses(
    relayed: Relayed, relay: tuple[Setup, Way, NextHop | None, Sketch]
) -> None:
    setup, way, next_hop, sketch = relay
    outcome = relayed(way.received(sketch), setup)
    event(outcome.verdict)
    assert outcome.verdict in ("tx", "drop")
    if outcome.verdict == "drop":
        return
    assert next_hop is not None
    fewer = setup.entries[way.direction].rule.flags & RuleFlag.TTL_DECREMENT
    ttl = sketch.packet(way.source, way.destination).ttl - fewer
    macs = (next_hop.source_mac, next_hop.destination_mac)
    assert outcome.frame == sketch.wire(way.new_source, way.new_destination, macs, ttl=ttl)


@given(encounter=strategies.ENCOUNTERS)
@settings(thorough, max_examples=HEARD)
def test_program_and_oracle_agree_on_any_frame(
    relayed: Relayed, encounter: tuple[Setup, bytes]
) -> None:
    setup, frame = encounter
    note(frame.hex())
    outcome = relayed(frame, setup)
    event(f"{outcome.verdict} {' '.join(reason.name for reason in outcome.reasons)}")
    if outcome.frame is not None:
        assert len(outcome.frame) == len(frame)


@given(
    frame=st.binary(min_size=14, max_size=120),
    ether_type=st.sampled_from(
        [b"\x08\x00", b"\x08\x00\x45", b"\x81\x00", b"\x86\xdd", b"\x08\x06"]
    ),
    unmatched_drop=st.booleans(),
)
@settings(thorough, max_examples=500)
def test_program_and_oracle_agree_on_noise(
    relayed: Relayed, frame: bytes, ether_type: bytes, unmatched_drop: bool
) -> None:
    relayed(frame, route(unmatched_drop=unmatched_drop))
    relayed(frame[:12] + ether_type + frame[14:], route(unmatched_drop=unmatched_drop))


# ---- many more, without the oracle ----

FUZZED = 100_000

BASES = [
    *(
        way.received(sketch)
        for way in (TO_SERVER, TO_CLIENT)
        for sketch in (
            Sketch(tcp(text(20))),
            Sketch(udp(text(9))),
            Sketch(udp(text(9), chksum=0)),
            Sketch(udplite(text(20))),
            Sketch(dccp(text(20))),
            Sketch(ICMP() / Raw(text(20))),
            Sketch(tcp(text(20)), ip={"options": no_operations(10)}),
            Sketch(udp(text(20)), tags=(vlan(1),)),
            Sketch(
                tcp(text(20)), tags=(service_vlan(1), vlan(2)), ip={"options": no_operations(3)}
            ),
            Sketch(Raw(text(24)), ip={"frag": 1, "proto": 6}),
            Sketch(Raw(text(16)), ip={"frag": 2, "proto": 6, "flags": "MF"}),
        )
    ),
    bytes(Ether(src=CLIENT_MAC, dst=OUR_MAC) / ARP()),
    bytes(Ether(src=CLIENT_MAC, dst=OUR_MAC) / IPv6() / udp(text(20))),
]


def mutated(frame: bytes, dice: random.Random) -> bytes:
    """One of the ways in which a frame goes bad."""
    kind = dice.randrange(8)
    if kind == 0:
        return frame[: dice.randrange(14, len(frame) + 1)]
    if kind == 1:
        return frame + dice.randbytes(dice.randrange(1, 40))
    if kind == 2:
        return frame[:12] + b"\x08\x00" + dice.randbytes(dice.randrange(100))
    spoilt = bytearray(frame)
    for _ in range(dice.randrange(1, 5)):
        spoilt[dice.randrange(len(spoilt))] = dice.choice((0, 0xFF, dice.randrange(256)))
    if kind == 3:
        cut = dice.randrange(14, len(frame) + 1)
        return bytes(spoilt[:cut])
    return bytes(spoilt)


def untouched(frame: bytes) -> bytes:
    """What no rewrite may change: all but MACs, addresses, header checksum, L4 checksum."""
    start = 14
    while frame[start - 2 : start] in (b"\x81\x00", b"\x88\xa8"):
        start += 4
    header = 4 * (frame[start] & 15)
    part = int.from_bytes(frame[start + 6 : start + 8], "big") & 0x1FFF
    places = {6: 16, 17: 6, 136: 6, 33: 6}
    at = places.get(frame[start + 9], 1 << 20) - 8 * part
    checksum = start + header + at if 0 <= at <= 16 else len(frame)
    kept = bytearray(frame)
    for begin, end in ((0, 12), (start + 10, start + 20), (checksum, checksum + 2)):
        kept[begin:end] = bytes(len(kept[begin:end]))
    return bytes(kept)


def test_a_hundred_thousand_spoilt_frames_break_nothing(bench: Bench) -> None:
    """Known verdict, same length, only rewritten fields differ, every frame counted once."""
    seed = int.from_bytes(os.urandom(4), "big")
    dice = random.Random(seed)
    bench.install(route(snaplen=96))
    bench.reset()
    verdicts: Counter[str] = Counter()
    records = 0
    for number in range(FUZZED):
        frame = mutated(dice.choice(BASES), dice)
        verdict, out = bench.send(frame)
        verdicts[verdict] += 1
        context = f"seed {seed}, frame {number}: {frame.hex()}"
        assert len(out) == len(frame), context
        if verdict == "pass":
            assert out == frame, context
        else:
            assert verdict == "tx", context
            assert untouched(out) == untouched(frame), context
        if number % 500 == 499:
            records += len(bench.read())
    assert verdicts["tx"] > FUZZED / 5, "too few frames still met a rule"
    assert verdicts["pass"] > FUZZED / 5
    tallies = [bench.tally(entry) for entry in route().entries]
    assert sum(tally.matched for tally in tallies) == verdicts["tx"]
    assert sum(tally.forwarded for tally in tallies) == verdicts["tx"]
    passed = {reason: n for reason, n in bench.reasons().items() if reason.name.startswith("PASS")}
    assert sum(passed.values()) == verdicts["pass"]
    assert set(passed) == {
        Reason.PASS_NOT_IP,
        Reason.PASS_NO_ROUTE,
        Reason.PASS_MALFORMED,
        Reason.PASS_GROUP_ADDRESS,
    }
    cpu = bench.cpu_numbers()
    assert (cpu.received, cpu.emitted) == (verdicts["tx"], 3 * verdicts["tx"])
    assert (records, sum(cpu.lost)) == (cpu.emitted, 0)
