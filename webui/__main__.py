"""`python -m webui`: the application on waitress.

`fwdcap run` starts this as an unprivileged user. `--listen fd:N` takes a socket
that is listening already, so that whoever may bind an address, or lives in
another network namespace, can do it beforehand.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, get_args

import waitress
from flask import Flask
from waitress.server import BaseWSGIServer

from fwdcap.config import Clear
from fwdcap.control.client import Client
from fwdcap.errors import FwdcapError
from webui import asking, create_app, logins
from webui.channel import PATIENCE_S, FairChannel

# Workers wait for fwdcapd, for passwords and for filtered downloads (exports.MOST);
# plain downloads need none of them.
THREADS = 16
CONNECTIONS = 512
# What may be made of a filtered download before its client takes it.
AHEAD_BYTES = 256 << 10

# waitress calls whoever connects to a unix socket so.
_NGINX = {
    "trusted_proxy": "localhost",
    "trusted_proxy_count": 1,
    "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto"},
}


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; 1 with a sentence where that cannot begin."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, _end)
    try:
        app = create_app(
            given.store,
            Client(given.control, asking.headers),
            given.zone,
            clear=given.clear,
            https=given.behind_nginx,
            logins=logins.from_json(given.logins),
        )
        server = make_server(app, given.listen, given.behind_nginx)
    except (FwdcapError, OSError, ValueError) as error:
        print(f"web: cannot serve on {given.listen}: {error}", file=sys.stderr)
        return 1
    server.run()
    return 0


def make_server(app: Flask, listen: str, behind_nginx: bool = False) -> Any:
    """A waitress server on `HOST:PORT` or on the inherited socket `fd:N`.

    `behind_nginx`: only nginx can connect to it (a unix socket of ours), and says
    who its client is and how that came; from anybody else such headers are removed.
    """
    where: dict[str, Any] = {"listen": listen}
    if listen.startswith("fd:"):
        where = {"sockets": [socket.socket(fileno=int(listen.removeprefix("fd:")))]}
    sockets: dict[int, Any] = {}
    server = waitress.create_server(
        app,
        map=sockets,
        **where,
        threads=THREADS,
        connection_limit=CONNECTIONS,
        channel_timeout=PATIENCE_S,
        channel_request_lookahead=1,  # else nobody notices that a client has gone
        outbuf_high_watermark=AHEAD_BYTES,
        asyncore_use_poll=True,
        clear_untrusted_proxy_headers=True,
        **(_NGINX if behind_nginx else {}),
        expose_tracebacks=False,
        ident="fwdcap",
        max_request_body_size=app.config["MAX_CONTENT_LENGTH"],
        max_request_header_size=64 * 1024,
    )
    for listening in sockets.values():
        if isinstance(listening, BaseWSGIServer):
            listening.channel_class = FairChannel
    return server


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m webui", description="The pages of fwdcap.")
    parser.add_argument("--store", type=Path, required=True, help="directory of the store")
    parser.add_argument("--control", type=Path, help="fwdcapd's control socket")
    parser.add_argument("--listen", default="127.0.0.1:8080", help="HOST:PORT or fd:N")
    parser.add_argument("--zone", default="UTC", help="time zone of every text")
    parser.add_argument("--clear", choices=get_args(Clear), default="all", help="in clear")
    parser.add_argument("--behind-nginx", action="store_true", help="nginx connects to it")
    parser.add_argument("--logins", default="{}", help="further ways to log in, as JSON")
    return parser


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
