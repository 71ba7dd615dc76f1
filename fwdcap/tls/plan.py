"""How requests reach the pages: over https or in clear. Pure.

In clear only what stays on the machine, unless `[web] plain_http = "api"` lets
programs that know no https in.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from fwdcap.config import Clear, Web
from fwdcap.errors import Invalid


@dataclass(frozen=True)
class Plan:
    """Whether nginx stands in front, and what a request in clear may reach."""

    https: bool
    clear: Clear


LOCAL = Plan(https=False, clear="all")


def plan(web: Web, local: bool) -> Plan:
    """`local`: only this machine can connect. Raises Invalid."""
    if (web.certificate is None) != (web.key is None):
        missing, given = ("key", "certificate") if web.key is None else ("certificate", "key")
        raise Invalid(
            f"[web] {given} is set without {missing}.",
            code="bad-certificate",
            hint="Set both, or neither for a certificate that fwdcap makes.",
        )
    https = web.tls == "on" or (web.tls == "auto" and not local)
    if local and not https:
        return LOCAL
    return Plan(https, "api" if web.plain_http == "api" else "none")


def is_local(listen: str) -> bool:
    """Whether `HOST:PORT` is loopback; what is only known when it is bound (fd:N) counts as."""
    host = listen.rpartition(":")[0].strip("[]")
    if host in ("fd", "localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
