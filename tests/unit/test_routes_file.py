"""routes.toml: what it may say, and a sentence for everything else."""

from __future__ import annotations

import contextlib
import tomllib
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap.errors import Invalid, NotFound
from fwdcap.routes import file
from fwdcap.routes.model import Mode, Route, mode_names

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parents[2] / "routes.example.toml"
GOOD = {
    "name": '"orders-db"',
    "client": '"10.0.1.20"',
    "capture": '"10.0.1.166"',
    "server": '"10.0.2.41"',
    "modes": '["inline"]',
}


def text(**changes: str | None) -> str:
    """One good [[route]] with keys changed, added or (None) left out."""
    keys = {key: value for key, value in (GOOD | changes).items() if value is not None}
    return "[[route]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def refusal(content: str) -> Invalid:
    with pytest.raises(Invalid) as raised:
        file.parse(content, "r.toml")
    assert raised.value.message.startswith("r.toml")
    assert raised.value.message.endswith(".")
    assert raised.value.hint
    return raised.value


def test_a_route_with_its_defaults() -> None:
    assert file.parse(text(), "r.toml") == (
        Route(
            name="orders-db",
            client=IPv4Address("10.0.1.20"),
            capture=IPv4Address("10.0.1.166"),
            server=IPv4Address("10.0.2.41"),
            modes=frozenset({Mode.INLINE}),
        ),
    )


def test_a_route_with_everything() -> None:
    (route,) = file.parse(
        text(
            modes='["egress", "ingress"]', egress='"10.0.1.7"', enabled="false", ttl='"decrement"'
        ),
        "r.toml",
    )
    assert route.modes == {Mode.INGRESS, Mode.EGRESS}
    assert route.egress == IPv4Address("10.0.1.7")
    assert (route.enabled, route.ttl) == (False, "decrement")


def test_no_modes_forwards_only() -> None:
    assert file.parse(text(modes="[]"), "r.toml")[0].modes == frozenset()


def test_routes_come_in_the_order_of_the_file() -> None:
    content = "".join(text(name=f'"{name}"') for name in "cab")
    assert [route.name for route in file.parse(content, "r.toml")] == ["c", "a", "b"]


def test_an_empty_file_has_no_routes() -> None:
    assert file.parse("# nothing yet\n", "r.toml") == ()


def test_the_example_can_be_read_with_its_commented_lines_too() -> None:
    (route,) = file.read(EXAMPLE)
    assert (route.name, route.modes) == ("orders-db", frozenset({Mode.INLINE}))
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    code = [line.removeprefix("# ") for line in lines if "= " in line or "[[route]]" in line]
    code = [line for line in code if line.startswith(("[[", *file._KEYS))]
    assert len(file.parse("\n".join(code), "r.toml")) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"There is no routes file {tmp_path}/r.toml"):
        file.read(tmp_path / "r.toml")


def test_what_is_not_a_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read: Is a directory"):
        file.read(tmp_path)
    (tmp_path / "r.toml").write_bytes(b'[[route]]\nname = "\xff"\n')
    with pytest.raises(Invalid, match="not valid TOML: byte 18 is not UTF-8"):
        file.read(tmp_path / "r.toml")


def test_bad_syntax_is_told_with_its_line() -> None:
    error = refusal("[[route]]\nname = orders\n")
    assert error.code == "routes-syntax"
    assert "line 2" in error.message


@pytest.mark.parametrize("content", ["[route]\nname = 'a'\n", "route = 5\n", "route = [1]\n"])
def test_single_brackets_are_explained(content: str) -> None:
    error = refusal(content)
    assert error.message == "r.toml: route is not a list of tables."
    assert "[[route]]" in error.hint


def test_unknown_keys_name_file_route_and_the_nearest_key() -> None:
    error = refusal(text(captrue='"10.0.1.1"'))
    assert error.code == "route-unknown-key"
    assert error.message == "r.toml: route orders-db: unknown key captrue."
    assert error.hint.startswith("Did you mean capture? Keys of a route are name, client,")
    error = refusal("[[routes]]\nname = 'a'\n")
    assert error.message == "r.toml: unknown key routes."
    assert error.hint == "Did you mean route? The file knows only route."


@pytest.mark.parametrize("key", GOOD)
def test_missing_keys_are_named(key: str) -> None:
    error = refusal(text() + text(**{key: None}))
    name = "number 2" if key == "name" else "orders-db"
    assert error.message == f"r.toml: route {name}: key {key} is missing."
    assert f"Add {key} = " in error.hint


def test_duplicate_names_are_refused() -> None:
    error = refusal(text() + text())
    assert error.code == "route-duplicate-name"
    assert error.message.startswith("r.toml: route orders-db: another route before it")


@pytest.mark.parametrize("key", ["client", "capture", "server", "egress"])
@pytest.mark.parametrize(
    "value",
    [
        '""',
        '"10.0.1"',
        '"10.0.1.256"',
        '"010.0.1.1"',
        '"10.0.1.1 "',
        '"db.example.org"',
        "167772417",
    ],
)
def test_bad_addresses_name_route_and_key(key: str, value: str) -> None:
    error = refusal(text(**{key: value}))
    assert error.code == f"route-bad-{key}"
    assert error.message == (
        f"r.toml: route orders-db: {key} is {value}, but must be an IPv4 address."
    )
    assert error.hint == f'Write it like {key} = "10.0.1.20".'


@pytest.mark.parametrize("address", ["2001:db8::1", "::", "fe80::1%eth0", "2001:db8::/32"])
def test_ipv6_is_refused_for_now(address: str) -> None:
    error = refusal(text(server=f'"{address}"'))
    assert error.code == "route-ipv6"
    assert error.message == (
        f"r.toml: route orders-db: server {address}: IPv6 routes are not supported by this version."
    )


@pytest.mark.parametrize("client", ["any", "10.0.0.0/8"])
def test_any_client_routes_are_refused_for_now(client: str) -> None:
    error = refusal(text(client=f'"{client}"'))
    assert "not supported by this version" in error.hint
    assert "not supported" not in refusal(text(server=f'"{client}"')).hint


@pytest.mark.parametrize("name", ['""', '"a b"', '"a/b"', '"é"', f'"{"x" * 65}"', "5", '"a\\n"'])
def test_names_are_1_to_64_plain_characters(name: str) -> None:
    error = refusal(text(name=name))
    assert error.code == "route-bad-name"
    assert "must be text of 1 to 64 characters" in error.message


@given(st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True))
def test_every_plain_name_is_taken(name: str) -> None:
    assert file.parse(text(name=f'"{name}"'), "r.toml")[0].name == name


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("modes", '"inline"', 'modes is "inline", but must be a list.'),
        ("modes", '["outline"]', "modes contains 'outline', which is not a mode."),
        ("modes", '["INLINE"]', "modes contains 'INLINE', which is not a mode."),
        ("modes", "[2]", "modes contains 2, which is not a mode."),
        ("modes", '["inline", "inline"]', "modes names a mode twice."),
        ("enabled", '"yes"', 'enabled is "yes", but must be true or false (without quotes).'),
        ("enabled", "1", "enabled is 1, but must be true or false (without quotes)."),
        ("ttl", '"64"', 'ttl is "64", but must be "keep" or "decrement".'),
        ("ttl", "64", 'ttl is 64, but must be "keep" or "decrement".'),
    ],
)
def test_bad_values_name_route_and_key(key: str, value: str, says: str) -> None:
    error = refusal(text(**{key: value}))
    assert error.code == f"route-bad-{key}"
    assert error.message == f"r.toml: route orders-db: {says}"


@given(
    st.frozensets(st.sampled_from(Mode)),
    st.ip_addresses(v=4),
    st.ip_addresses(v=4) | st.none(),
    st.booleans(),
)
def test_what_a_route_is_can_be_written_and_read(
    modes: frozenset[Mode], client: IPv4Address, egress: IPv4Address | None, enabled: bool
) -> None:
    (route,) = file.parse(
        text(
            modes=str(mode_names(modes)),
            client=f'"{client}"',
            egress=f'"{egress}"' if egress else None,
            enabled=str(enabled).lower(),
        ),
        "r.toml",
    )
    assert (route.modes, route.client, route.egress, route.enabled) == (
        modes,
        client,
        egress,
        enabled,
    )


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.ip_addresses().map(str),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
tables = st.fixed_dictionaries({}, optional=dict.fromkeys(file._KEYS, values))


@given(tables)
def test_any_table_is_read_or_refused_as_invalid(table: dict[str, object]) -> None:
    whole = tomllib.loads(text())["route"][0] | table
    for candidate in (table, whole):
        with contextlib.suppress(Invalid):
            assert isinstance(file.from_table(candidate, "r.toml"), Route)


@given(st.text())
def test_any_text_is_read_or_refused_as_invalid(content: str) -> None:
    with contextlib.suppress(Invalid):
        assert file.parse(content, "r.toml") == ()
