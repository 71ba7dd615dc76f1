"""Hypothesis strategies: routes, packets of theirs, and frames that went through bad hands.

The parts are made once: a strategy made anew for every draw is validated anew,
which takes ten times as long as the frame does.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from hypothesis import strategies as st
from packets import (
    CLIENT_MAC,
    PROTO_DCCP,
    PROTO_UDPLITE,
    TO_CLIENT,
    TO_SERVER,
    Entry,
    NextHop,
    Setup,
    Sketch,
    Way,
    balanced,
    dccp,
    service_vlan,
    tcp,
    text,
    udp,
    udplite,
    unfinished_checksum,
    vlan,
)
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.packet import Packet, Raw

from fwdcap.routes.model import Mode, Route, expand

_TEXT = text(4096)

# ---- routes and settings ----

# Those that a route may name: no multicast, no 0/8, no 127/8.
ADDRESSES = (
    st.integers(1 << 24, (224 << 24) - 1)
    .filter(lambda number: number >> 24 != 127)
    .map(IPv4Address)
)
FOUR_ADDRESSES = st.lists(ADDRESSES, min_size=4, max_size=4, unique=True)
MACS = st.integers(0, (1 << 40) - 1).map(lambda n: f"02:{n.to_bytes(5, 'big').hex(':')}")
NEXT_HOPS = st.builds(NextHop, MACS, MACS, st.sampled_from([1500, 1500, 9000, 65535, 576, 1500]))
MODES = st.frozensets(st.sampled_from(Mode))
# Odd ones of many are rarer than the ends of a range, which Hypothesis prefers.
SELDOM = st.integers(0, 15).map(lambda n: n in (7, 9))
MOSTLY = SELDOM.map(lambda seldom: not seldom)
EVENLY = st.booleans()
ROUTE_IDS = st.integers(0, 2**32 - 1)
SNAPLENS = st.one_of(st.sampled_from([0, 0, 0, 1]), st.integers(0, 2000))
INTERFACE_MTUS = st.sampled_from([1500, 9000, 0])


@st.composite
def _setups(draw: st.DrawFn) -> Setup:
    client, capture, server, other = draw(FOUR_ADDRESSES)
    route = Route(
        name="any",
        client=client,
        capture=capture,
        server=server,
        modes=draw(MODES),
        egress=other if draw(EVENLY) else capture,
        enabled=draw(MOSTLY),
        ttl="decrement" if draw(SELDOM) else "keep",
    )
    rules = expand(route, draw(ROUTE_IDS))
    return Setup(
        tuple(
            Entry(rule, draw(NEXT_HOPS) if draw(MOSTLY) else None, slot)
            for slot, rule in enumerate(rules)
        ),
        recording=draw(MOSTLY),
        snaplen=draw(SNAPLENS),
        interface_mtu=draw(INTERFACE_MTUS),
        unmatched_drop=draw(SELDOM),
    )


SETUPS = _setups()


def way_of(entry: Entry) -> Way:
    key = entry.rule.key
    return Way(
        entry.rule.direction,
        key.source,
        key.destination,
        entry.rule.new_source,
        entry.rule.new_destination,
    )


# ---- packets ----

PAYLOADS = st.one_of(
    st.integers(0, 64).map(lambda length: _TEXT[:length]),
    st.integers(0, 1472).map(lambda length: _TEXT[:length]),
    st.sampled_from([_TEXT[:1471], _TEXT[:1472], _TEXT[:3900]]),
    st.binary(max_size=64),
)
SUMMED = st.sampled_from([tcp, tcp, udp, udp, udplite, dccp])
BALANCED = st.sampled_from([udp, udplite, tcp])
NUMBERS16 = st.integers(0, 0xFFFF)
NUMBERS8 = st.integers(0, 0xFF)
ZERO_OR_NEAR = st.sampled_from([0, 0, 1, 0xFFFE])
PLAIN_PROTOCOLS = st.sampled_from([1, 2, 47, 50, 51, 89, 132, 253, 255])
PROTOCOLS = st.one_of(st.sampled_from([6, 6, 17, 17, PROTO_DCCP, PROTO_UDPLITE]), PLAIN_PROTOCOLS)
FLAGS = st.sampled_from(["DF", "DF", 0, "MF", 4, 7])
TTLS = st.one_of(st.sampled_from([64, 255, 128, 2, 1, 0]), NUMBERS8)
OPTIONS = st.binary(max_size=10).map(lambda raw: b"".join(bytes([b, b, 1, 0]) for b in raw))
CONTRADICTIONS = st.one_of(
    st.fixed_dictionaries({"version": st.integers(0, 15)}),
    st.fixed_dictionaries({"ihl": st.integers(0, 15)}),
    st.fixed_dictionaries({"ihl": st.integers(0, 15), "len": st.integers(0, 70)}),
    st.fixed_dictionaries({"len": st.integers(0, 100)}),
)
FRAGMENTS = st.one_of(st.sampled_from([0, 0, 1, 2, 3, 8191]), st.integers(0, 8191))
INNER_TAG = st.builds(vlan, st.integers(0, 4095), st.integers(0, 7))
OUTER_TAG = st.one_of(INNER_TAG, st.builds(service_vlan, st.integers(0, 4095)))
TAGS = st.one_of(st.just(()), st.tuples(OUTER_TAG), st.tuples(OUTER_TAG, INNER_TAG))
SIZES = st.sampled_from([0, 0, 60, 64, 200, 1600])
ERRORS = st.one_of(st.sampled_from([0, 0, 0, 1, 0xFFFE]), NUMBERS16)
KINDS = st.sampled_from([lambda bare: bare, lambda _: 0, lambda _: 0xFFFF])
ONE_IN_FIVE = st.integers(0, 4).map(lambda n: n == 2)


@st.composite
def _ip_fields(draw: st.DrawFn) -> dict[str, Any]:
    fields = {"tos": draw(NUMBERS8), "id": draw(NUMBERS16), "flags": draw(FLAGS), "ttl": draw(TTLS)}
    options = draw(OPTIONS)
    return {**fields, "options": [Raw(options)]} if options else fields


IP_FIELDS = _ip_fields()


def _summed(draw: st.DrawFn, way: Way) -> Packet:
    """A header whose checksum is right, or balanced to zero at some stage."""
    if draw(ONE_IN_FIVE):
        source = way.source if draw(EVENLY) else way.new_source
        destination = way.destination if draw(EVENLY) else way.new_destination
        return balanced(draw(BALANCED), source, destination, draw(ZERO_OR_NEAR))
    header: Callable[..., Packet] = draw(SUMMED)
    return header(draw(PAYLOADS), sport=draw(NUMBERS16), dport=draw(NUMBERS16))


def sketch(draw: st.DrawFn, way: Way) -> Sketch:
    """A packet that scapy can build again with other addresses."""
    fields, l4_error = draw(IP_FIELDS), 0
    if draw(ONE_IN_FIVE):
        fields = {**fields, "proto": draw(PLAIN_PROTOCOLS)}
        l4: Packet = Raw(draw(PAYLOADS))
        l4 = ICMP() / l4 if draw(EVENLY) else l4
    else:
        l4, l4_error = _summed(draw, way), draw(ERRORS)
    return Sketch(l4, fields, draw(TAGS), draw(SIZES), draw(ERRORS), l4_error)


def odd_sketch(draw: st.DrawFn, way: Way) -> Sketch:
    """Any fragment of anything, checksums of any value, a header that contradicts itself."""
    fields = {**draw(IP_FIELDS), "frag": draw(FRAGMENTS), "proto": draw(PROTOCOLS)}
    fields.update(draw(CONTRADICTIONS) if draw(ONE_IN_FIVE) else {})
    data: Packet = Raw(draw(PAYLOADS))
    if draw(EVENLY):
        data = _summed(draw, way)
        protocol = 6 if TCP in data else 17 if UDP in data else None
        if protocol:
            fields["proto"] = protocol
            bare = unfinished_checksum(protocol, way.source, way.destination, len(bytes(data)))
            data.chksum = draw(NUMBERS16) if draw(SELDOM) else draw(KINDS)(bare)
            fields["frag"] *= draw(EVENLY)
    return Sketch(data, fields, draw(TAGS), draw(SIZES), draw(ERRORS))


# ---- frames ----

SCRATCHES = st.lists(st.tuples(st.integers(0, 99), NUMBERS8), max_size=4)
CUTS = st.integers(0, 200)
TRAILERS = st.sampled_from([b"", b"", b"\0", b"trailer"])
OUR_MACS = st.sampled_from(["02:00:00:00:00:0c"] * 9 + ["ff:ff:ff:ff:ff:ff"])


def _mishandled(draw: st.DrawFn, frame: bytes) -> bytes:
    """Cut, lengthened, or with some bytes changed; at least an Ethernet header is left."""
    spoilt = bytearray(frame)
    for place, value in draw(SCRATCHES):
        if place < len(spoilt):
            spoilt[place] = value
    if draw(SELDOM):
        del spoilt[14 + draw(CUTS) :]
    return bytes(spoilt) + draw(TRAILERS)


@st.composite
def _encounters(draw: st.DrawFn) -> tuple[Setup, bytes]:
    setup = draw(SETUPS)
    way = way_of(setup.entries[draw(EVENLY)])
    if draw(ONE_IN_FIVE) and draw(EVENLY):
        way = TO_SERVER if draw(EVENLY) else TO_CLIENT
    kind = odd_sketch if draw(EVENLY) else sketch
    frame = kind(draw, way).wire(way.source, way.destination, (CLIENT_MAC, draw(OUR_MACS)))
    return setup, _mishandled(draw, frame) if draw(EVENLY) else frame


@st.composite
def _relays(draw: st.DrawFn) -> tuple[Setup, Way, NextHop | None, Sketch]:
    setup = draw(SETUPS)
    entry = setup.entries[draw(EVENLY)]
    way = way_of(entry)
    return setup, way, entry.next_hop, sketch(draw, way)


# A set-up and a frame, mostly one of its route's, half of them mishandled.
ENCOUNTERS = _encounters()
# A set-up and a packet of its route, with the way it takes and the next hop there.
RELAYS = _relays()
