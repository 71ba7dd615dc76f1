"""Each shorthand is what it says in tcpdump's language, or a refusal that names the place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap.errors import Invalid
from fwdcap.filters.shorthand import SHORTHANDS, compile_all
from fwdcap.store.export import check_filter

pytestmark = pytest.mark.unit

MEANINGS = [
    ("FilterBPF", "tcp[13] & 2 != 0", "tcp[13] & 2 != 0"),
    ("FilterIPHost", "10.0.1.20", "ip host 10.0.1.20"),
    ("FilterIPHost", "10.0.1.20/32", "ip host 10.0.1.20"),
    ("FilterIPHost", "10.0.1.20/24", "ip net 10.0.1.0/24"),
    ("FilterIPHost", "0.0.0.0/0", "ip"),
    ("FilterIPSrc", "10.0.0.0/8", "ip src net 10.0.0.0/8"),
    ("FilterIPDst", "10.0.1.20", "ip dst host 10.0.1.20"),
    ("FilterIPDst", "2001:db8::1", "ip6 dst host 2001:db8::1"),
    ("FilterIPSrc", "2001:db8::1/64", "ip6 src net 2001:db8::/64"),
    ("FilterPort", "53", "port 53"),
    ("FilterPort", "0-65535", "portrange 0-65535"),
    ("FilterTCPPort", "1000-2000", "tcp portrange 1000-2000"),
    ("FilterUDPPort", "4789", "udp port 4789"),
    ("FilterTCP", "true", "tcp"),
    ("FilterTCP", "TRUE", "tcp"),
    ("FilterUDP", "true", "udp"),
    ("FilterDNS", "true", "tcp port 53 or udp port 53"),
    ("FilterHTTP", "true", "tcp port 80"),
    ("FilterHTTPS", "true", "tcp port 443"),
    ("FilterICMP", "true", "icmp or icmp6"),
    ("FilterIGMP", "true", "igmp"),
]


@pytest.mark.parametrize(("name", "value", "text"), MEANINGS)
def test_meaning(name: str, value: str, text: str) -> None:
    assert compile_all([(name, value)]) == (text,)
    check_filter(text)


def test_every_shorthand_has_a_meaning_here() -> None:
    assert {name for name, _, _ in MEANINGS} == set(SHORTHANDS)


def test_several_stay_several_and_a_switch_that_is_off_is_none() -> None:
    asked = [("FilterIPHost", "10.0.0.1"), ("FilterTCP", "false"), ("FilterIPHost", "10.0.0.2")]
    assert compile_all(asked) == ("ip host 10.0.0.1", "ip host 10.0.0.2")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FilterBPF", "", "at its end: the filter is empty"),
        ("FilterIPHost", "", "at its end: that is no IP address"),
        ("FilterIPHost", "10.0.1", "at character 1: that is no IP address"),
        ("FilterIPDst", "\0", "at character 1: that is no IP address"),
        ("FilterIPDst", "\ud800", "at character 1: that is no IP address"),
        ("FilterIPDst", "::1\0/64", "at character 1: that is no IP address"),
        ("FilterIPHost", "010.0.0.1", "at character 1"),
        ("FilterIPHost", "example.com", "at character 1"),
        ("FilterIPHost", "10.0.0.1 or tcp", "at character 1"),
        ("FilterIPHost", "fe80::1%eth0", "at character 1"),
        ("FilterIPSrc", "10.0.0.1/", "at its end: a prefix is a number from 0 to 32"),
        ("FilterIPSrc", "10.0.0.1/33", "at character 10: a prefix is a number from 0 to 32"),
        ("FilterIPSrc", "10.0.0.1/255.0.0.0", "at character 10"),
        ("FilterIPSrc", "10.0.0.1/-1", "at character 10"),
        ("FilterIPDst", "::1/129", "at character 5: a prefix is a number from 0 to 128"),
        ("FilterIPDst", "\u0661.2.3.4", "at character 1"),
        ("FilterPort", "", "at its end: a port is a number"),
        ("FilterPort", "http", "at character 1: a port is a number"),
        ("FilterPort", "80x", "at character 3"),
        ("FilterPort", "80 or tcp", "at character 3"),
        ("FilterPort", "-80", "at character 1"),
        ("FilterPort", "80-", "at its end"),
        ("FilterPort", "80-90-100", "at character 6"),
        ("FilterPort", "65536", "at character 1: ports end at 65535"),
        ("FilterTCPPort", "1-99999", "at character 3: ports end at 65535"),
        ("FilterUDPPort", "2000-1000", "at character 6: the range ends before it begins"),
        ("FilterUDPPort", "\u0661", "at character 1"),
        ("FilterTCP", "1", "at character 1: it is true or false"),
        ("FilterTCP", "", "at its end: it is true or false"),
    ],
)
def test_mistakes_are_placed(name: str, value: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        compile_all([(name, value)])
    assert refused.value.message.startswith(f"{name}=")
    assert f"has a mistake {said}" in refused.value.message
    assert refused.value.hint


@given(name=st.sampled_from(sorted(set(SHORTHANDS) - {"FilterBPF"})), value=st.text(max_size=60))
def test_whatever_comes_is_understood_or_refused(name: str, value: str) -> None:
    try:
        texts = compile_all([(name, value)])
    except Invalid as refused:
        texts = (refused.message,)
    assert all(text.isascii() and text.isprintable() and len(text) < 400 for text in texts)
