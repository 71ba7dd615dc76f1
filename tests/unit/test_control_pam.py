"""PAM, played by a program of its own: right, wrong, and not to be asked."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from pathlib import Path

import pytest

from fwdcap.control import pam
from fwdcap.control.pam import Pam, groups_of
from fwdcap.errors import Unavailable

pytestmark = pytest.mark.unit

PLAYED = (
    sys.executable,
    "-c",
    "import json, sys\n"
    "service, name, password = json.load(sys.stdin)\n"
    "assert not any(password in word for word in sys.argv[1:])\n"
    "sys.exit({'right': 0, 'wrong': 1}.get(password, 2) if service == 'fwdcap' else 3)",
)


def made(service: str = "fwdcap") -> Pam:
    return Pam(service, command=PLAYED, groups=lambda name: [f"{name}s"])


def test_a_right_password_gives_the_groups() -> None:
    assert made().login("ann", "right") == {"right": True, "groups": ["anns"]}


def test_a_wrong_one_gives_nothing() -> None:
    assert made().login("ann", "wrong") == {"right": False, "groups": []}


def test_it_is_off_without_a_service() -> None:
    assert Pam("", command=("/nonexistent",)).login("ann", "right") == {
        "right": False,
        "groups": [],
    }


@pytest.mark.parametrize("command", [PLAYED, ("/nonexistent",)])
def test_not_to_be_asked_is_not_wrong(
    command: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unavailable, match="could not be asked"):
        Pam("fwdcap", command=command).login("ann", "a secret of mine")
    assert "secret" not in caplog.text


def test_without_the_package_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stdin:
        @staticmethod
        def read() -> str:
            return '["fwdcap", "ann", "x"]'

    monkeypatch.setattr(sys, "stdin", Stdin)
    monkeypatch.setitem(sys.modules, "pam", None)
    assert pam.main() == 2
    assert "python-pam" in capsys.readouterr().err


def test_the_package_is_asked_as_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, str]] = []

    class Package:
        class pam:
            def authenticate(self, name: str, password: str, service: str) -> bool:
                seen.append((name, password, service))
                return password == "right"

    class Stdin:
        text = '["fwdcap", "ann", "right"]'

        @classmethod
        def read(cls) -> str:
            return cls.text

    monkeypatch.setattr(sys, "stdin", Stdin)
    monkeypatch.setitem(sys.modules, "pam", Package)
    assert pam.main() == 0
    Stdin.text = '["fwdcap", "ann", "wrong"]'
    assert pam.main() == 1
    assert seen == [("ann", "right", "fwdcap"), ("ann", "wrong", "fwdcap")]


def test_groups_are_the_machines() -> None:
    me = pwd.getpwuid(os.getuid())
    assert grp.getgrgid(me.pw_gid).gr_name in groups_of(me.pw_name)
    assert groups_of("nobody-of-that-name") == []
    assert groups_of("a\0b") == []


def test_the_real_child_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Started as the daemon starts it, with a package that cannot be imported."""
    (tmp_path / "pam.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(Unavailable, match="could not be asked"):
        Pam("fwdcap").login("nobody-of-that-name", "x")
    assert "python-pam is not installed" in caplog.text
