"""What the cloud says of this machine: its instance id, from the metadata service.

Version 2 only, which a forwarded request cannot be talked into: a PUT gets a
token, and only with that is anything told (EC2 user guide, "Use the Instance
Metadata Service"). Where nobody answers within a second there is no cloud.
"""

from __future__ import annotations

import http.client
import logging
import re
import urllib.request

TIMEOUT_S = 1.0
_TOKEN = "/latest/api/token"
_INSTANCE = "/latest/meta-data/instance-id"
_LIFE = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
_ID = re.compile(r"i-[0-9a-f]{8,32}")
_MOST_BYTES = 512

log = logging.getLogger(__name__)


def instance_id(endpoint: str, timeout_s: float = TIMEOUT_S) -> str | None:
    """The instance id, None where nobody says it; asks `endpoint` twice, for `timeout_s` each."""
    if not endpoint:
        return None
    try:
        token = _ask("PUT", f"{endpoint}{_TOKEN}", _LIFE, timeout_s)
        found = _ask(
            "GET", f"{endpoint}{_INSTANCE}", {"X-aws-ec2-metadata-token": token}, timeout_s
        )
    except (OSError, http.client.HTTPException, ValueError) as error:
        log.info("there is no metadata service: %s", type(error).__name__)
        return None
    return found if _ID.fullmatch(found) else None


def _ask(method: str, url: str, headers: dict[str, str], timeout_s: float) -> str:
    """Neither by way of a proxy nor to where a redirect leads. Raises OSError, ValueError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    request = urllib.request.Request(url, method=method, headers=headers)
    with opener.open(request, timeout=timeout_s) as answer:
        return str(answer.read(_MOST_BYTES).decode("ascii").strip())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None
