"""Downloads that look at packets: a fwdcap-scan behind each.

Its length is not known before it is done, so it is sent in chunks, and a chunk
that a slow client has not taken yet holds its worker. Hence there are few at a
time, well below the number of workers: whoever comes later is asked to come
back, and nobody's status, list or plain download ever waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock

from flask import Response, g, request
from werkzeug.datastructures import Headers

from fwdcap.errors import Unavailable
from fwdcap.store.export import Export, ExportProcess, open_exports
from webui.limits import bound
from webui.meter import Meter, Ticket
from webui.sending import tell_download

MOST = 4
CHUNK_BYTES = 65536
LOOK_S = 0.5  # how often one that has found nothing yet looks whether its client is still there

_MEDIA_TYPES = {"pcap": "application/vnd.tcpdump.pcap", "pcapng": "application/x-pcapng"}


class Exports:
    """The exports of one application: at most `most` at a time."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = Lock()
        self._running = 0

    @property
    def running(self) -> int:
        """How many there are now."""
        return self._running

    def open(
        self, root: Path, streams: Sequence[str], export: Export, gone: Callable[[], bool]
    ) -> Body:
        """Begins one; raises NotFound, Invalid, and Unavailable where there are too many."""
        with self._lock:
            full = self._running >= self._most
            self._running += not full
        if full:
            raise Unavailable(
                f"{self._most} filtered downloads run already, which is the most at a time.",
                code="too-many-exports",
                hint="Try again when one of them has ended; unfiltered downloads need not wait.",
            )
        try:
            return Body(open_exports(root, streams, export), gone, self._end)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        with self._lock:
            self._running -= 1


class Body:
    """What a server sends of an export; closing it ends the process, whatever is left.

    `whole`: nothing was.
    """

    def __init__(
        self, process: ExportProcess, gone: Callable[[], bool], release: Callable[[], None]
    ) -> None:
        self._process = process
        self._gone = gone
        self._release = release
        self._closing = Lock()
        self._closed = False
        self.whole = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            if not self._process.ready(LOOK_S):
                if self._gone():
                    return
                continue
            chunk = self._process.read(CHUNK_BYTES)
            if not chunk:
                self.whole = True
                self.close()
                return
            yield chunk

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._process.close()
        self._release()


class Counted:
    """A body that notes how far it was taken."""

    def __init__(self, body: Body, ticket: Ticket) -> None:
        self._body = body
        self._ticket = ticket

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            self._ticket.reach(self._ticket.sent_bytes + len(chunk))
            yield chunk
        self._ticket.end(self._body.whole)

    def close(self) -> None:
        self._ticket.end(False)
        self._body.close()


def respond(
    exports: Exports,
    meter: Meter,
    root: Path,
    streams: Sequence[str],
    export: Export,
    stem: str,
) -> Response:
    """That export as a download called `stem` and what it is: header first and at once.

    Whatever is wrong with it is said before the first byte; what breaks later
    ends the transfer without its last chunk, which every client notices.
    """
    export = bound(export, g.user)
    body = exports.open(root, streams, export, _gone())
    headers = Headers(
        {
            "Accept-Ranges": "none",
            "Content-Disposition": f'attachment; filename="{stem}{export.suffix}"',
        }
    )
    media_type = "application/gzip" if export.gzip else _MEDIA_TYPES[export.format]
    if request.method == "HEAD":
        body.close()
        return Response(None, 200, headers, mimetype=media_type)
    tell_download(f"{stem}{export.suffix}")
    counted = Counted(body, meter.begin("filtered"))
    return Response(counted, 200, headers, mimetype=media_type, direct_passthrough=True)


def _gone() -> Callable[[], bool]:
    """Whether this request's client has gone; never, on a server that does not say."""
    found: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return found
