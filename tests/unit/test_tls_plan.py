"""Who may come in clear, and what nginx is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwdcap.config import Web
from fwdcap.errors import Invalid
from fwdcap.tls import site
from fwdcap.tls.plan import Plan, is_local, plan

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("web", "local", "expected"),
    [
        ({}, True, Plan(False, "all")),
        ({}, False, Plan(True, "none")),
        ({"plain_http": "api"}, True, Plan(False, "all")),
        ({"plain_http": "api"}, False, Plan(True, "api")),
        ({"tls": "on"}, True, Plan(True, "none")),
        ({"tls": "on"}, False, Plan(True, "none")),
        ({"tls": "off"}, True, Plan(False, "all")),
        ({"tls": "off"}, False, Plan(False, "none")),
        ({"tls": "off", "plain_http": "api"}, False, Plan(False, "api")),
    ],
)
def test_in_clear_only_on_loopback_unless_told(
    web: dict[str, Any], local: bool, expected: Plan
) -> None:
    assert plan(Web(**web), local) == expected


@pytest.mark.parametrize("given", ["certificate", "key"])
def test_half_a_pair_is_refused(given: str) -> None:
    with pytest.raises(Invalid, match=rf"\[web\] {given} is set without"):
        plan(Web(**{given: Path("/x.pem")}), local=False)


@pytest.mark.parametrize(
    ("listen", "local"),
    [
        ("127.0.0.1:8080", True),
        ("127.0.0.2:0", True),
        ("[::1]:443", True),
        ("localhost:80", True),
        ("fd:3", True),
        ("0.0.0.0:443", False),
        ("[::]:443", False),
        ("10.0.0.1:80", False),
        ("appliance:443", False),
    ],
)
def test_what_only_this_machine_reaches(listen: str, local: bool) -> None:
    assert is_local(listen) is local


def told(**of: Any) -> str:
    given: dict[str, Any] = {
        "listen": "0.0.0.0:443",
        "directory": Path("/run/fwdcap/control.sock.web"),
        "user": "fwdcap-web fwdcap-web",
        "workers": 2,
        "hsts": False,
    }
    return site.config(site.Site(**{**given, **of}))


def test_nginx_serves_one_port_by_tls_only() -> None:
    text = told()
    assert text.count("listen ") == 1
    assert "listen 0.0.0.0:443 ssl;" in text
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in text
    assert "user fwdcap-web fwdcap-web;\n" in text


def test_nothing_is_copied_to_disk() -> None:
    text = told()
    assert "proxy_buffering off;" in text
    assert "proxy_max_temp_file_size 0;" in text
    # A body as large as is taken fits into memory.
    assert "client_max_body_size 1m;" in text
    assert "client_body_buffer_size 1m;" in text


def test_the_application_is_told_who_asks_and_how() -> None:
    """Set, not added to: whatever the client sent under these names is gone."""
    text = told()
    assert "proxy_set_header X-Forwarded-For $client;" in text
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in text
    assert "$proxy_add_x_forwarded_for" not in text


def test_browsers_are_bound_to_https_only_with_a_certificate_they_trust() -> None:
    assert 'map $https $hsts { on "max-age=2592000"; default ""; }' in told(hsts=True)
    assert 'map $https $hsts { on ""; default ""; }' in told()


def test_without_somebody_to_become_there_is_no_user() -> None:
    assert "\nuser " not in told(user="")


@pytest.mark.parametrize("name", ["a b", 'a"b', "a;b", "a$b", "a{b", "a:b", "a\nb", "a'b", "a#b"])
def test_a_directory_that_nginx_would_misread_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="unusual characters"):
        told(directory=Path("/run", name))
