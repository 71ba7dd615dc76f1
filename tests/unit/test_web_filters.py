"""Filtered downloads, through the real fwdcap-scan: what is asked for, and refusals."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from export_kit import Record, as_records, records, retag, stream, tag, traffic
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from store_builder import Packet
from test_export_pcapng import fields
from web_fakes import Site, make_site

from fwdcap import abi
from fwdcap.errors import Unavailable
from webui import exports
from webui.exports import Body

pytestmark = pytest.mark.unit

STREAM = "cli_capture_20150620_1128"
SINGLE = f"/pcap/single?StreamName={STREAM}"
IGMP = bytes(Ether(dst="01:00:5e:00:00:01") / IP(src="10.0.1.20", proto=2)) + bytes(8)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def kinds() -> list[Packet]:
    """One second each: what the shorthands tell apart."""
    found = traffic(16)
    return [*found, Packet(found[-1].ns + 1, IGMP)]


def layers(record: Record) -> Ether:
    return Ether(record.frame)


def is_port(record: Record, kind: type[TCP | UDP], low: int, high: int) -> bool:
    packet = layers(record)
    fragment = IP in packet and packet[IP].frag
    if kind not in packet or fragment or packet.type == 0x8100:
        return False
    return any(low <= port <= high for port in (packet[kind].sport, packet[kind].dport))


def ip_of(record: Record) -> tuple[str, str]:
    packet = layers(record)
    if packet.type != 0x0800:
        return ("", "")
    return packet[IP].src, packet[IP].dst


# What scapy says of the frames. tcpdump's language looks at untagged frames only.
WANTED = {
    "FilterBPF=tcp%5B13%5D%20%3D%3D%202": lambda r: (
        is_port(r, TCP, 80, 80) and layers(r)[TCP].flags == "S"
    ),
    "FilterBPF=vlan+7": lambda r: layers(r).type == 0x8100,
    "FilterIPHost=10.0.2.41": lambda r: "10.0.2.41" in ip_of(r),
    "FilterIPHost=10.0.2.0/24": lambda r: any(a.startswith("10.0.2.") for a in ip_of(r)),
    "FilterIPSrc=10.0.2.41": lambda r: ip_of(r)[0] == "10.0.2.41",
    "FilterIPDst=192.0.2.0/24": lambda r: ip_of(r)[1] == "192.0.2.7",
    "FilterIPDst=2001:db8::2": lambda r: layers(r).type == 0x86DD,
    "FilterPort=53": lambda r: is_port(r, UDP, 53, 53),
    "FilterPort=50-90": lambda r: is_port(r, UDP, 50, 90) or is_port(r, TCP, 50, 90),
    "FilterTCPPort=80": lambda r: is_port(r, TCP, 80, 80),
    "FilterTCPPort=1000-2000": lambda r: False,
    "FilterUDPPort=1-53": lambda r: is_port(r, UDP, 1, 53),
    "FilterTCP=true": lambda r: layers(r).type != 0x8100 and TCP in layers(r),
    "FilterUDP=true": lambda r: (
        layers(r).type == 0x86DD or (layers(r).type == 0x0800 and layers(r)[IP].proto == 17)
    ),
    "FilterDNS=true": lambda r: is_port(r, UDP, 53, 53),
    "FilterHTTP=true": lambda r: is_port(r, TCP, 80, 80),
    "FilterHTTPS=true": lambda r: False,
    "FilterICMP=true": lambda r: ICMP in layers(r),
    "FilterIGMP=true": lambda r: r.frame == IGMP,
    "FilterUDP=false": lambda r: True,
    "FilterIPHost=10.0.1.20&FilterTCP=true": lambda r: is_port(r, TCP, 80, 80),
    "FilterIPHost=10.0.1.20&FilterIPHost=192.0.2.7": lambda r: ICMP in layers(r),
    "FilterTCP=true&FilterUDP=true": lambda r: False,
}


@pytest.mark.parametrize("query", WANTED)
def test_what_matches_is_sent_and_nothing_else(site: Site, query: str) -> None:
    sent = kinds()
    stream(site.store, sent)
    answer = site.get(f"{SINGLE}&{query}")
    assert answer.status_code == 200, answer.text
    assert records(answer.data) == [each for each in as_records(sent) if WANTED[query](each)]


def test_header_first_chunked_and_named(site: Site) -> None:
    stream(site.store, traffic())
    answer = site.get(f"{SINGLE}&FilterTCP=true")
    assert answer.mimetype == "application/vnd.tcpdump.pcap"
    assert "Content-Length" not in answer.headers
    assert (answer.headers["Accept-Ranges"], "ETag" in answer.headers) == ("none", False)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{STREAM}.pcap"'
    ranged = site.get(f"{SINGLE}&FilterTCP=true", Range="bytes=5-9")
    assert (ranged.status_code, ranged.data) == (200, answer.data)


def test_nothing_selected_is_the_store_as_it_is(site: Site) -> None:
    built = stream(site.store, traffic())
    for query in ("Format=pcap", "Snaplen=0", "FilterTCP=false", "Format=PCAP&Snaplen=0"):
        answer = site.get(f"{SINGLE}&{query}")
        assert answer.data == built.single()
        assert answer.headers["Content-Length"] == str(len(answer.data))


def test_snaplen_cuts_and_keeps_the_length(site: Site) -> None:
    sent = traffic()
    stream(site.store, sent)
    cut = records(site.get(f"{SINGLE}&Snaplen=60").data)
    assert [(r.ns, r.frame, r.length) for r in cut] == [
        (p.ns, p.frame[:60], len(p.frame)) for p in sent
    ]


@pytest.mark.parametrize("level", ["fast", "best", "BEST", *"123456789"])
def test_compression_is_gzip_of_the_same(site: Site, level: str) -> None:
    built = stream(site.store, traffic())
    answer = site.get(f"{SINGLE}&Compression={level}")
    assert gzip.decompress(answer.data) == built.single()
    assert answer.mimetype == "application/gzip"
    assert answer.headers["Content-Disposition"].endswith(f'"{STREAM}.pcap.gz"')
    assert "Content-Encoding" not in answer.headers


def test_pcapng_has_every_packet(site: Site) -> None:
    sent = traffic()
    stream(site.store, sent)
    answer = site.get(f"{SINGLE}&Format=pcapng")
    assert answer.mimetype == "application/x-pcapng"
    assert answer.headers["Content-Disposition"].endswith(f'"{STREAM}.pcapng"')
    assert fields(answer.data, "frame.len") == [[str(len(each.frame))] for each in sent]


@pytest.mark.parametrize(
    ("query", "routes", "modes"),
    [
        ("Route=web", {2}, set(abi.Mode)),
        ("Route=orders-db,web", {1, 2}, set(abi.Mode)),
        ("Mode=inline", {1, 2}, {abi.Mode.INLINE}),
        ("Mode=Ingress,egress", {1, 2}, {abi.Mode.INGRESS, abi.Mode.EGRESS}),
        ("Route=web&Mode=egress", {2}, {abi.Mode.EGRESS}),
    ],
)
def test_route_and_mode_by_the_tags(
    site: Site, query: str, routes: set[int], modes: set[abi.Mode]
) -> None:
    sent = traffic()
    retag(stream(site.store, sent))
    tags = [tag(number) for number in range(len(sent))]
    wanted = [
        record
        for record, mark in zip(as_records(sent), tags, strict=True)
        if mark.route_id in routes and mark.mode_direction & 15 in modes
    ]
    assert records(site.get(f"{SINGLE}&{query}").data) == wanted


def test_a_split_is_filtered_within_its_window(site: Site) -> None:
    sent = traffic()
    stream(site.store, sent)
    url = f"/pcap/splittime?StreamName={STREAM}&Start={sent[9].ns}ULL&Stop={sent[30].ns}ULL"
    inside = [each for each in as_records(sent[9:30]) if is_port(each, TCP, 80, 80)]
    answer = site.get(f"{url}&Compression=fast&FilterHTTP=true&")
    assert records(gzip.decompress(answer.data)) == inside
    assert len(site.get(f"{url}&FilterIGMP=true").data) == 24
    outside = f"/pcap/splittime?StreamName={STREAM}&Start=1&Stop=2&FilterTCP=true"
    assert site.get(outside).status_code == 404


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("FilterBPF=tcp+prt+80", "The filter has a mistake at character 5, 'prt 80'"),
        ("FilterBPF=tcp+and", "The filter has a mistake at its end"),
        ("FilterBPF=", "FilterBPF= has a mistake at its end"),
        (f"FilterBPF={'(' * 20000}", "longer than 16384 bytes"),
        ("FilterBPF=a%00b", "NUL"),
        ("FilterBPF=%FF", "The filter has a mistake at character 1"),
        ("FilterBPF=host+a%0Ab", "The filter has a mistake"),
        ("&".join(f"FilterPort={n}" for n in range(17)), "There are 17 filters."),
        ("FilterIPHost=10.0.0.1/40", "FilterIPHost=10.0.0.1/40 has a mistake at character 10"),
        ("FilterPort=x", "FilterPort=x has a mistake at character 1"),
        ("FilterTCP=yes", "FilterTCP=yes has a mistake at character 1"),
        ("FilterRE=/login/i", "FilterRE is not supported."),
        ("FilterBPFDecap=true", "FilterBPFDecap is not supported."),
        ("Filter=ip", "Filter is not supported by this version."),
        ("filterbpf=tcp", "'filterbpf' is not known"),
        ("Route=nosuch", "No route was called 'nosuch'"),
        ("Route=", "Route names nothing."),
        ("Route=web,", "Route names nothing."),
        ("Mode=sideways", "Mode='sideways' is not known. It is one of ingress, inline, egress."),
        ("Mode=inline&Mode=egress", "Mode is given twice."),
        ("Snaplen=-1", "Snaplen='-1' is not a whole number from 0 to 262144."),
        ("Snaplen=262145", "not a whole number"),
        ("Snaplen=1e2", "not a whole number"),
        ("Compression=0", "Compression='0' is not known. It is one of fast, best, 1 to 9."),
        ("Compression=10", "is not known"),
        ("Compression=zstd", "is not known"),
        ("Format=erf", "Format='erf' is not known. It is one of pcap, pcapng."),
        ("Format=", "Format='' is not known."),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        f"{SINGLE}&",
        f"/pcap/splittime?StreamName={STREAM}&Start=0&Stop={1 << 62}&",
        f"/pcap/timerange?TSBegin=0&TSEnd={1 << 62}&",
    ],
    ids=["single", "splittime", "timerange"],
)
def test_bad_values_are_400_before_a_byte_is_sent(
    site: Site, path: str, query: str, said: str, method: str
) -> None:
    stream(site.store, traffic(8))
    answer = site.get(path + query, method=method)
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    if method == "GET":
        assert said in answer.text
        assert len(answer.text) < 500
        assert str(site.store) not in answer.text


@pytest.mark.parametrize("name", ["none", "..", "a%00", "x" * 10_000])
def test_a_filter_of_a_stream_that_is_not_there_is_404(site: Site, name: str) -> None:
    assert site.get(f"/pcap/single?StreamName={name}&FilterTCP=true").status_code == 404


def test_an_empty_stream_filtered_is_24_bytes(site: Site) -> None:
    stream(site.store, [])
    assert len(site.get(f"{SINGLE}&FilterTCP=true").data) == 24


def test_a_running_stream_is_filtered_up_to_what_is_committed(site: Site) -> None:
    built = stream(site.store, traffic(8))
    with (built.directory / "000002.pcap").open("ab") as file:
        file.write(bytes(4096))
    assert site.get(f"{SINGLE}&FilterBPF=len+%3E+0").data == built.single()


def test_head_says_what_get_would_and_frees_its_place(site: Site) -> None:
    stream(site.store, traffic())
    for _ in range(exports.MOST + 1):
        head = site.get(f"{SINGLE}&FilterTCP=true&Compression=best", method="HEAD")
        assert (head.status_code, head.data) == (200, b"")
        assert head.mimetype == "application/gzip"


def opened(site: Site, gone: bool = False) -> Body:
    around = site.app.extensions["fwdcap"]
    wanted = exports.Export(filters=("ip or not ip",))
    found: Body = around.exports.open(site.store, (STREAM,), wanted, lambda: gone)
    return found


def test_too_many_at_a_time_are_asked_to_come_back(site: Site) -> None:
    stream(site.store, traffic())
    running = [opened(site) for _ in range(exports.MOST)]
    refused = site.get(f"{SINGLE}&FilterTCP=true")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert "4 filtered downloads run already" in refused.text
    assert site.get(SINGLE).status_code == 200
    assert site.get("/sysmaster/status").status_code == 200
    running.pop().close()
    assert len(site.get(f"{SINGLE}&FilterIGMP=true").data) == 24
    for body in running:
        body.close()
        body.close()
    again = [opened(site) for _ in range(exports.MOST)]
    for body in again:
        body.close()


def test_refusals_cost_no_place(site: Site) -> None:
    stream(site.store, traffic())
    for _ in range(exports.MOST + 1):
        assert site.get(f"{SINGLE}&FilterBPF=tcp+prt").status_code == 400
    assert len(site.get(f"{SINGLE}&FilterIGMP=true").data) == 24


def test_closing_ends_the_process(site: Site) -> None:
    stream(site.store, traffic())
    body = opened(site)
    pid = body._process.pid
    assert next(iter(body))[:4] == abi.PCAP_MAGIC_NS.to_bytes(4, "little")
    body.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_client_that_went_away_ends_a_search_that_finds_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream(site.store, traffic())
    body = opened(site, gone=True)
    monkeypatch.setattr(type(body._process), "ready", lambda self, timeout_s: False)
    assert list(body) == []
    body.close()


def test_a_search_that_breaks_off_is_an_error_not_an_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise Unavailable("The export broke off: x.", code="export-failed")

    stream(site.store, traffic())
    body = opened(site)
    monkeypatch.setattr(type(body._process), "read", broken)
    with pytest.raises(Unavailable):
        list(body)
    body.close()


def test_without_fwdcap_scan_it_is_503(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stream(site.store, traffic())
    monkeypatch.setattr("fwdcap.store.export.PROGRAM", site.store / "nothing")
    answer = site.get(f"{SINGLE}&FilterTCP=true")
    assert (answer.status_code, str(site.store) in answer.text) == (503, False)
    assert site.get(SINGLE).status_code == 200
