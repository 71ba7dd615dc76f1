"""Privileges and kernel: one sentence each."""

from __future__ import annotations

import pytest

from fwdcap.control import host
from fwdcap.errors import Forbidden, Unavailable

pytestmark = pytest.mark.unit

ALL = (1 << 41) - 1


@pytest.mark.parametrize("release", ["6.1.0-18-amd64", "6.1.79-99.167.amzn2023.x86_64", "7.0-rc1"])
def test_kernels_that_will_do(release: str) -> None:
    host.require_kernel(release)


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "6.0.19", "3.10", "unheard-of"])
def test_older_ones_are_named(release: str) -> None:
    with pytest.raises(Unavailable, match=f"Linux {release} is too old"):
        host.require_kernel(release)


def test_root_lacks_nothing() -> None:
    assert host.lacking(ALL) == []
    host.require_privileges(ALL)


def test_what_is_lacking_is_named() -> None:
    assert host.lacking(ALL & ~(1 << 39)) == ["CAP_BPF"]
    with pytest.raises(Forbidden, match="CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF"):
        host.require_privileges(0)


def test_this_process_has_readable_capabilities() -> None:
    assert 0 <= host.effective_capabilities() <= (1 << 64) - 1
