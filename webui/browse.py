"""The Files pages: every stream; one stream, its views and their splits; deletion.

Everything is a link or a form, so it works without a script; the manual's
address of a stream lands on the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from fwdcap.errors import FwdcapError, NotFound
from fwdcap.store import stream_json
from fwdcap.store.listing import open_splits
from fwdcap.store.names import not_found, shorten, stream_directory
from fwdcap.store.stream import StreamInfo, list_streams, read_stream
from fwdcap.store.views import VIEWS, view_named
from fwdcap.users.roles import Role
from webui import files, lost, problems, splits
from webui.auth import needs
from webui.context import context
from webui.files import FileRow
from webui.moment import overview_now
from webui.query import whole_number

blueprint = Blueprint("files", __name__)

PER_PAGE = 500
_MOST_PAGES = 10**9


@blueprint.get("/files")
@blueprint.get("/en.files.html", endpoint="manual")
@needs(Role.VIEWER)
def index() -> str:
    """Every stream, newest first; with StreamName that one alone."""
    chosen = request.args.get("StreamName", "").strip()
    if chosen:
        try:
            return _stream_page(read_stream(context().store, chosen))
        except NotFound:
            return _list_page(missing=shorten(chosen))
    return _list_page()


@blueprint.post("/files/delete")
@needs(Role.OPERATOR)
def delete() -> AnyResponse:
    """Deletes the stream that a form names."""
    around = context()
    stream = request.form.get("stream", "").strip()
    stream_directory(around.store, stream)
    try:
        answer = around.daemon.stream_delete(stream)
    except NotFound:
        raise
    except FwdcapError as error:
        page = _stream_page(read_stream(around.store, stream), problems.of_error(error))
        return AnyResponse(page, error.http_status, mimetype="text/html")
    message = str(answer["message"])
    flash(f"{message[:1].upper()}{message[1:]}.")
    return redirect(url_for("files.index"), 303)


def _list_page(missing: str = "") -> str:
    query = request.args.get("q", "").strip()
    streams = list_streams(context().store)
    matching = [info for info in streams if files.matches(info, query)]
    pages = max(1, -(-len(matching) // PER_PAGE))
    number = min(_page(), pages)
    shown = matching[(number - 1) * PER_PAGE : number * PER_PAGE]
    return render_template(
        "files.html",
        rows=[_row(info) for info in shown],
        total=len(streams),
        matching=len(matching),
        query=query,
        number=number,
        pages=pages,
        missing=missing,
    )


def _stream_page(info: StreamInfo, problem: problems.Problem | None = None) -> str:
    around = context()
    name = request.args.get("StreamView", "").strip()
    view = view_named(name) if name else splits.fitting(info)
    try:
        found = open_splits(around.store, info.stream, view)
        page = splits.page_of(found, view, around.zone, _page())
    except OSError:  # deleted while it was read
        raise not_found(info.stream) from None
    values: dict[str, str] = {}
    return render_template(
        "stream.html",
        row=_row(info),
        losses=lost.rows(_losses(info), around.zone, values),
        lost=values,
        info=info,
        facts=files.facts(info, around.zone),
        view=view,
        views=[(each, splits.label(each)) for each in VIEWS],
        page_of_splits=page,
        problem=problem,
    )


def _losses(info: StreamInfo) -> Sequence[Mapping[str, Any]]:
    """The episodes that the stream's own file tells of."""
    words = stream_json.read(stream_directory(context().store, info.stream) / stream_json.FILE)
    return words.losses if words is not None else ()


def _row(info: StreamInfo) -> FileRow:
    around, now = context(), overview_now()
    running = now.stream if now.recording else ""
    return files.row(info, around.now_ns(), around.zone, running if now.known else None)


def _page() -> int:
    return max(1, whole_number(request.args, "Page", _MOST_PAGES) or 1)
