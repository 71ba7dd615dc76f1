"""What the demo says about its web page's port."""

from __future__ import annotations

import socket

import pytest

from fwdcap.lab.demo import _free_port

pytestmark = pytest.mark.unit


def test_a_taken_port_is_named_and_another_one_used(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert _free_port(port) == 0
    assert f"port {port} is taken" in capsys.readouterr().out
    assert _free_port(port) == port
    assert capsys.readouterr().out == ""
