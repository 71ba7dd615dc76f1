"""What nginx is told: TLS towards the clients, the pages behind a unix socket. Pure.

The application decides everything else, also what a request in clear gets:
nginx passes it on with `X-Forwarded-Proto: http`, from the same port (its error
497 is a request in clear where TLS was expected).

Answers are passed on as they come, without nginx's buffering: that holds back
what does not fill a buffer, and a filtered download must begin at once. One
large buffer for each connection makes up for it (docs/decisions/0060).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fwdcap.errors import Invalid

CONFIG = "nginx.conf"
CERTIFICATE = "certificate.pem"
KEY = "key.pem"
SOCKET = "web.sock"
PROTOCOLS = "TLSv1.2 TLSv1.3"
CIPHERS = (  # of TLS 1.2; ssl-config.mozilla.org, "intermediate"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
# Long enough to find a certificate of one's own again after its renewal was forgotten.
HSTS_S = 30 * 86400
BUFFER_BYTES = 256 << 10
# An answer waits for fwdcapd, at most as long as stopping a capture may take.
ANSWER_S = 3600
# A client that takes nothing for so long is let go, as webui/channel.py has it.
PATIENCE_S = 600

_PASSING_ON = f"""\
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $client;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_buffering off;
    proxy_buffer_size {BUFFER_BYTES >> 10}k;
    proxy_buffers 4 {BUFFER_BYTES >> 10}k;
    proxy_max_temp_file_size 0;
    proxy_connect_timeout 5s;
    proxy_send_timeout {PATIENCE_S}s;
    proxy_read_timeout {ANSWER_S}s;"""
_PLAIN = re.compile(r"[\w./@+-]+")


@dataclass(frozen=True)
class Site:
    """Where nginx listens, what it works in, and who its workers are."""

    listen: str  # ADDRESS:PORT as the listening socket has it
    directory: Path
    user: str  # "name group", empty: whoever starts it
    workers: int
    hsts: bool


def config(site: Site) -> str:
    """The whole configuration. Raises Invalid where the directory has no plain name."""
    if not _PLAIN.fullmatch(str(site.directory)):
        raise Invalid(
            f"nginx cannot work in {site.directory}: its name has unusual characters.",
            code="bad-directory",
            hint="Choose another place with --control.",
        )
    at = site.directory
    user = f"user {site.user};\n" if site.user else ""
    hsts = f"max-age={HSTS_S}" if site.hsts else ""
    return f"""\
# Written by fwdcapd at each start; what is changed here is lost.
{user}worker_processes {site.workers};
worker_priority 5;
daemon off;
pid {at}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  server_tokens off;
  default_type text/plain;
{_temporary(at)}
  ssl_certificate {at}/{CERTIFICATE};
  ssl_certificate_key {at}/{KEY};
  ssl_protocols {PROTOCOLS};
  ssl_ciphers {CIPHERS};
  ssl_prefer_server_ciphers off;
  ssl_session_cache shared:tls:2m;
  ssl_session_tickets off;
  ssl_buffer_size 16k;
  map $https $hsts {{ on "{hsts}"; default ""; }}
  map $remote_addr $client {{ "~^::ffff:(?<mapped>[0-9.]+)$" $mapped; default $remote_addr; }}
  upstream pages {{ server unix:{at}/{SOCKET}; keepalive 16; }}
  server {{
    listen {site.listen} ssl;
    merge_slashes off;
    large_client_header_buffers 4 64k;
    client_max_body_size 1m;
    client_body_buffer_size 1m;
    send_timeout {PATIENCE_S}s;
    add_header Strict-Transport-Security $hsts always;
    error_page 497 = @pages;
    error_page 502 504 = @away;
{_PASSING_ON}
    location / {{ proxy_pass http://pages; }}
    location @pages {{ proxy_pass http://pages; }}
    location @away {{ return 503 "The pages do not answer, they are started again.\\n"; }}
  }}
}}
"""


def _temporary(at: Path) -> str:
    """Nothing is written there, but nginx makes them all at start."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "\n".join(f"  {kind}_temp_path {at}/temporary/{kind};" for kind in kinds)
