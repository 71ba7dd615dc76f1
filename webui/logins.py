"""Other ways to log in than users.json: PAM, asked through fwdcapd, and a trusted proxy.

Both know who somebody is, not what that one may do here: roles follow from
groups. The daemon hands these settings to the web process as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from fwdcap.users.roles import Role, role_of


@dataclass(frozen=True)
class Logins:
    """`proxy_from` are the networks whose header counts; `groups` gives the roles."""

    pam: bool = False
    proxy_header: str = ""
    proxy_groups: str = ""
    proxy_from: tuple[str, ...] = ()
    groups: Mapping[str, Role] = field(default_factory=dict)

    def role(self, names: Iterable[str]) -> Role | None:
        """The highest role that one of these groups gives."""
        found = [self.groups[name] for name in names if name in self.groups]
        return max(found, key=lambda role: role.step, default=None)

    def trusts(self, peer: str) -> bool:
        """Whether the proxy header counts from there."""
        if not self.proxy_header:
            return False
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in ip_network(network) for network in self.proxy_from)


NONE = Logins()


def from_json(text: str) -> Logins:
    """What `fwdcap run` passed on. Raises ValueError."""
    given = json.loads(text)
    roles = {str(name): role_of(role) for name, role in given.get("groups", {}).items()}
    return Logins(
        pam=bool(given.get("pam")),
        proxy_header=str(given.get("proxy_header", "")),
        proxy_groups=str(given.get("proxy_groups", "")),
        proxy_from=tuple(str(each) for each in given.get("proxy_from", ())),
        groups={name: role for name, role in roles.items() if role is not None},
    )
