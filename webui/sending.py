"""Sends what has a length: files as byte ranges (RFC 9110), and long texts.

The body is a seekable file object in the server's own file wrapper: the server
sends it by itself, so a slow client holds a buffer's worth and no worker. The
range asked for is cut out before, hence exact on any server.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable
from itertools import islice
from typing import IO, Any

from flask import Response, g, request
from werkzeug.datastructures import Headers
from werkzeug.wsgi import FileWrapper

from fwdcap.store.download import Download
from webui import problems
from webui.context import context
from webui.limits import refuse_plain
from webui.meter import Watched

MEDIA_TYPE = "application/vnd.tcpdump.pcap"
TEXT_IN_MEMORY_BYTES = 32 << 20  # a day in seconds is 13 MB, a terabyte in megabytes 150
_BLOCK_BYTES = 65536
_ROWS_AT_ONCE = 4096
_RANGE = re.compile(r"\s*bytes\s*=\s*(?P<first>[0-9]{0,19})\s*-\s*(?P<last>[0-9]{0,19})\s*", re.I)


def send(download: Download, filename: str) -> Response:
    """The download, or the one range of it that was asked for; 304 and 416 where they apply.

    Raises Forbidden for a user who may not have it as it is.
    """
    refuse_plain()
    etag = f'"{download.mark}"'
    headers = Headers(
        {
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, no-cache",
            "Content-Disposition": f'attachment; filename="{filename}"',
            "ETag": etag,
        }
    )
    if request.if_none_match.contains_weak(download.mark):
        return Response(status=304, headers=headers)
    wanted = _range_header(etag)
    span = span_of(wanted, download.length) if wanted else (0, download.length)
    if span is None:
        headers["Content-Range"] = f"bytes */{download.length}"
        sentence = f"The range lies outside the {download.length} bytes there are."
        refusal = problems.respond(problems.Problem(416, sentence, code="bad-range"))
        refusal.headers.extend(headers)
        return refusal
    start, stop = span
    headers["Content-Length"] = str(stop - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{download.length}"
    if request.method == "HEAD":
        return Response(None, 200, headers, mimetype=MEDIA_TYPE)
    tell_download(filename)
    return Response(
        _wrapped(Watched(download.window(start, stop), context().meter.begin("plain"))),
        206 if wanted else 200,
        headers,
        mimetype=MEDIA_TYPE,
        direct_passthrough=True,
    )


def tell_download(filename: str) -> None:
    """Lets the audit log know what this request downloads."""
    context().reports.tell("download", g.user.who, request.remote_addr or "", filename)


def send_text(rows: Iterable[str]) -> Response:
    """The rows as text/plain with its length, made before the first of them is sent."""
    # No `with`: it lives until the server has sent it.
    file: IO[bytes] = tempfile.SpooledTemporaryFile(TEXT_IN_MEMORY_BYTES)  # noqa: SIM115
    taking = iter(rows)
    try:
        while some := "".join(islice(taking, _ROWS_AT_ONCE)):
            file.write(some.encode())
    except BaseException:
        file.close()
        raise
    headers = Headers({"Content-Length": str(file.tell())})
    if request.method == "HEAD":
        file.close()
        return Response(None, 200, headers, mimetype="text/plain")
    file.seek(0)
    return Response(_wrapped(file), 200, headers, mimetype="text/plain", direct_passthrough=True)


def span_of(wanted: str, length: int) -> tuple[int, int] | None:
    """[start, stop) that the range `first-last` means (RFC 9110, 14.1.2); None: outside."""
    first, _, last = wanted.partition("-")
    if not first:
        start, stop = max(0, length - int(last)), length
    else:
        start, stop = int(first), min(int(last) + 1, length) if last else length
    return (start, stop) if start < stop else None


def _range_header(etag: str) -> str:
    """The one range asked for; empty where the whole is to be sent instead (RFC 9110, 14.2)."""
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if request.method != "GET" or found is None or request.headers.get("If-Range", etag) != etag:
        return ""
    first, last = found["first"], found["last"]
    backwards = bool(first and last) and int(first) > int(last)
    return "" if backwards or not (first or last) else f"{first}-{last}"


def _wrapped(file: Any) -> Any:
    wrapper: Callable[[Any, int], Any] = request.environ.get("wsgi.file_wrapper", FileWrapper)
    return wrapper(file, _BLOCK_BYTES)
