"""The `Filter…=` parameters of downloads, as filters in tcpdump's language.

Existing clients append `FilterIPHost=10.0.0.0/8` or `FilterTCPPort=1000-2000`
to a download's address. Each becomes one filter of pcap-filter(7); several must
all match. A value is understood completely or refused with the place of its
first mistake: whatever was guessed would hand out packets nobody asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from netaddr import AddrFormatError, IPNetwork, valid_ipv4, valid_ipv6

from fwdcap.errors import Invalid

MAX_PORT = 65535
_SHOWN_CHARACTERS = 40
_MOST_ESCAPED = 200  # one of them may take ten


def compile_all(given: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The filters that (name, value) pairs stand for, in their order; raises Invalid.

    Names are those of `SHORTHANDS`; a switch that is off (`FilterTCP=false`) is none.
    """
    compiled = (SHORTHANDS[name](name, value) for name, value in given)
    return tuple(text for text in compiled if text)


def _bpf(name: str, value: str) -> str:
    """tcpdump's language as it is: whoever runs it says where its mistakes are."""
    if not value:
        raise _mistake(name, value, 0, "the filter is empty", "Leave it out to get everything.")
    return value


def _host(direction: str) -> Callable[[str, str], str]:
    def compile_(name: str, value: str) -> str:
        network = _network(name, value)
        kind = "ip" if network.version == 4 else "ip6"
        if network.size == 1:
            return f"{kind} {direction}host {network.ip}"
        if network.prefixlen == 0:
            return kind
        return f"{kind} {direction}net {network.cidr}"

    return compile_


def _port(protocol: str) -> Callable[[str, str], str]:
    def compile_(name: str, value: str) -> str:
        first, dash, last = value.partition("-")
        low = _port_number(name, value, 0, first)
        if not dash:
            return f"{protocol}port {low}"
        high = _port_number(name, value, len(first) + 1, last)
        if low > high:
            raise _mistake(
                name,
                value,
                len(first) + 1,
                "the range ends before it begins",
                "Write the smaller port first.",
            )
        return f"{protocol}portrange {low}-{high}"

    return compile_


def _switch(text: str) -> Callable[[str, str], str]:
    def compile_(name: str, value: str) -> str:
        if value.lower() not in {"true", "false"}:
            raise _mistake(name, value, 0, "it is true or false", f"Write {name}=true.")
        return text if value.lower() == "true" else ""

    return compile_


SHORTHANDS: Mapping[str, Callable[[str, str], str]] = {
    "FilterBPF": _bpf,
    "FilterIPHost": _host(""),
    "FilterIPSrc": _host("src "),
    "FilterIPDst": _host("dst "),
    "FilterPort": _port(""),
    "FilterTCPPort": _port("tcp "),
    "FilterUDPPort": _port("udp "),
    "FilterTCP": _switch("tcp"),
    "FilterUDP": _switch("udp"),
    "FilterDNS": _switch("tcp port 53 or udp port 53"),
    "FilterHTTP": _switch("tcp port 80"),
    "FilterHTTPS": _switch("tcp port 443"),
    "FilterICMP": _switch("icmp or icmp6"),
    "FilterIGMP": _switch("igmp"),
}


def _network(name: str, value: str) -> IPNetwork:
    address, slash, prefix = value.partition("/")
    # netaddr raises ValueError for what cannot be given to the C library.
    if not (address.isascii() and address.isprintable()) or not (
        valid_ipv4(address) or valid_ipv6(address)
    ):
        raise _mistake(
            name,
            value,
            0,
            "that is no IP address",
            "Write an address such as 10.0.1.20, or a network such as 10.0.1.0/24.",
        )
    bits = 32 if valid_ipv4(address) else 128
    if slash and not (prefix.isascii() and prefix.isdigit() and int(prefix[:4]) <= bits):
        raise _mistake(
            name,
            value,
            len(address) + 1,
            f"a prefix is a number from 0 to {bits}",
            f"Write {address}/24.",
        )
    try:
        return IPNetwork(value)
    except (AddrFormatError, ValueError):
        raise _mistake(name, value, 0, "that is no network", "Write 10.0.1.0/24.") from None


def _port_number(name: str, value: str, at: int, text: str) -> int:
    wrong = next((n for n, c in enumerate(text) if not (c.isascii() and c.isdigit())), None)
    if not text or wrong is not None:
        raise _mistake(
            name,
            value,
            at + (wrong or 0),
            "a port is a number",
            f"Write {name}=443 or {name}=1000-2000.",
        )
    if len(text) > 5 or int(text) > MAX_PORT:
        raise _mistake(name, value, at, f"ports end at {MAX_PORT}", "Correct it.")
    return int(text)


def _mistake(name: str, value: str, at: int, what: str, hint: str) -> Invalid:
    shown = value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…"
    where = f"at character {at + 1}" if at < len(value) else "at its end"
    return Invalid(
        f"{name}={ascii(shown)[1:-1][:_MOST_ESCAPED]} has a mistake {where}: {what}.",
        code="bad-filter",
        hint=hint,
    )
