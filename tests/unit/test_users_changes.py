"""users.json as values, and the changes that are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdcap.errors import Conflict, FwdcapError, Invalid, NotFound
from fwdcap.users import changes
from fwdcap.users.model import Directory, Entry, Token, decode, digest_of, encode, lesser
from fwdcap.users.roles import Role

pytestmark = pytest.mark.unit

ADMIN = Entry("fwdcap", Role.ADMIN, "h", provisional=True)
ANN = Entry("ann", Role.RESTRICTED, "h2", "tcp port 80", 96)
TOKEN = Token("ci", "ann", Role.VIEWER, digest_of("secret"), 7, 8)
ALL = Directory({"fwdcap": ADMIN, "ann": ANN}, {"ci": TOKEN})


def test_what_is_written_is_read_again() -> None:
    assert decode(encode(ALL), strict=True) == ALL
    assert encode(Directory({"x": Entry("x", Role.VIEWER, "h")})) == {
        "users": {"x": {"role": "viewer", "hash": "h"}}
    }


def test_nothing_secret_is_shown() -> None:
    shown = str([each.to_dict() for each in (*ALL.users.values(), *ALL.tokens.values())])
    assert "h2" not in shown
    assert TOKEN.digest not in shown


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"users": []},
        {"users": {"a": 1}},
        {"users": {"a": {"hash": "h", "role": "king"}}},
        {"users": {"a": {"hash": 7, "role": "viewer"}}},
        {"users": {"a": {"hash": "h", "role": "viewer", "filter": 7}}},
        {"users": {"a": {"hash": "h", "role": "viewer", "snaplen": -1}}},
        {"users": {"a": {"hash": "h", "role": "viewer", "snaplen": "96"}}},
        {"users": {}, "tokens": []},
        {"users": {}, "tokens": {"t": {"user": "a", "role": "viewer"}}},
        {
            "users": {},
            "tokens": {"t": {"user": "a", "role": "viewer", "digest": "d", "made_ns": "x"}},
        },
    ],
)
def test_what_is_not_understood_is_left_out_and_never_written_back(raw: object) -> None:
    assert decode(raw) == Directory()
    with pytest.raises(ValueError, match=r"."):
        decode(raw, strict=True)


def test_the_lesser_role() -> None:
    assert lesser(Role.ADMIN, Role.VIEWER) is lesser(Role.VIEWER, Role.ADMIN) is Role.VIEWER


def test_a_users_tokens_go_with_it() -> None:
    left = changes.remove(ALL, "ann")
    assert (list(left.users), dict(left.tokens)) == (["fwdcap"], {})
    assert dict(changes.remove_token(ALL, "ci").tokens) == {}


def test_the_last_admin_stays() -> None:
    with pytest.raises(Conflict, match="last admin"):
        changes.remove(ALL, "fwdcap")
    with pytest.raises(Conflict, match="last admin"):
        changes.put(ALL, replace(ADMIN, role=Role.OPERATOR))
    two = changes.add(ALL, Entry("root2", Role.ADMIN, "h"))
    assert "fwdcap" not in changes.remove(two, "fwdcap").users


def restricted(**of: object) -> Entry:
    return replace(ANN, name="bob", **of)  # type: ignore[arg-type]


def token(**of: object) -> Token:
    return replace(TOKEN, **{"name": "new", **of})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        (lambda: changes.add(ALL, ANN), Conflict, "user-exists"),
        (lambda: changes.add(ALL, restricted(filter="", snaplen=0)), Invalid, "no-restriction"),
        (lambda: changes.add(ALL, restricted(role=Role.VIEWER)), Invalid, "not-restricted"),
        (lambda: changes.add(ALL, restricted(snaplen=-1)), Invalid, "bad-snaplen"),
        (lambda: changes.add(ALL, restricted(snaplen=1 << 20)), Invalid, "bad-snaplen"),
        (lambda: changes.put(ALL, restricted()), NotFound, "no-such-user"),
        (lambda: changes.put(ALL, replace(ANN, filter="", snaplen=0)), Invalid, "no-restriction"),
        (lambda: changes.remove(ALL, "bob"), NotFound, "no-such-user"),
        (lambda: changes.add_token(ALL, TOKEN), Conflict, "token-exists"),
        (lambda: changes.add_token(ALL, token(user="bob")), NotFound, "no-such-user"),
        (lambda: changes.add_token(ALL, token(role=Role.OPERATOR)), Invalid, "role-too-high"),
        (
            lambda: changes.add_token(ALL, token(user="fwdcap", role=Role.RESTRICTED)),
            Invalid,
            "bad-role",
        ),
        (lambda: changes.add_token(ALL, token(expires_ns=7)), Invalid, "bad-expiry"),
        (lambda: changes.add_token(ALL, token(name="a b")), Invalid, "bad-name"),
        (lambda: changes.remove_token(ALL, "x"), NotFound, "no-such-token"),
        (lambda: changes.role("king"), Invalid, "bad-role"),
        (lambda: changes.role(None), Invalid, "bad-role"),
    ],
)
def test_refusals(change: object, kind: type[FwdcapError], code: str) -> None:
    with pytest.raises(kind) as raised:
        change()  # type: ignore[operator]
    assert raised.value.code == code


@pytest.mark.parametrize(
    "name", ["", "a:b", "a b", "../x", ".x", "-x", "a\n", "x" * 65, "ä", 7, None]
)
def test_bad_names(name: object) -> None:
    with pytest.raises(Invalid):
        changes.name(name)


@pytest.mark.parametrize("name", ["a", "Ann.B-c_1", "ann@example.org", "x" * 64])
def test_good_names(name: str) -> None:
    assert changes.name(name) == name


@pytest.mark.parametrize("text", ["", "short", "x" * 1025, "long enough\0", 12345678, None])
def test_bad_passwords_are_not_repeated(text: object) -> None:
    with pytest.raises(Invalid) as raised:
        changes.password(text)
    assert not text or str(text) not in str(raised.value)
