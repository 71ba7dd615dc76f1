"""How a view of /api/v1 says what it takes, answers and needs.

The declaration is the only one: the request is checked against it, the answer
is shaped by it, the role is asked for by it, and the OpenAPI document is
written from it (openapi.py). A view without one does not get into the document,
which a test notices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from flask import Blueprint, Response
from pydantic import BaseModel, TypeAdapter

from fwdcap.users.roles import Role
from webui import auth
from webui.api import reading
from webui.query import parameters

JSON = "application/json"

V = TypeVar("V", bound=Callable[..., Any])


@dataclass(frozen=True)
class Parameter:
    """A parameter that the view reads by itself, with its JSON schema."""

    name: str
    schema: Mapping[str, Any]
    description: str
    required: bool = False
    place: str = "query"


@dataclass(frozen=True)
class Operation:
    """What a view offers.

    `answer` is a type that pydantic knows, sent as JSON, or None where the view
    answers by itself in one of `media_types`. `refusals` are the statuses above
    those that every operation has. `role` is None where no login is needed.
    """

    summary: str
    role: Role | None
    answer: Any = None
    status: int = 200
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    refusals: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    media_types: tuple[str, ...] = (JSON,)
    headers: Mapping[str, str] | None = None
    also: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reply:
    """An answer with headers of its own."""

    value: Any
    headers: Mapping[str, str]


def operation(
    blueprint: Blueprint, method: str, path: str, declared: Operation
) -> Callable[[V], Callable[..., Response]]:
    """Offers a view at `path` of a blueprint.

    The view gets the path's parts, `query` and `body` as declared, by name, and
    returns what `answer` can be made of, a Reply, or a finished Response.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(declared.answer)

    def offer(view: V) -> Callable[..., Response]:
        @wraps(view)
        def answer(**given: str) -> Response:
            asked: dict[str, Any] = dict(given)
            if declared.query is not None:
                asked["query"] = reading.query(declared.query)
            else:
                parameters()
            if declared.body is not None:
                asked["body"] = reading.body(declared.body)
            else:
                reading.no_body()
            return _sent(view(**asked), adapter, declared.status)

        described(declared)(answer)
        guarded = answer if declared.role is None else auth.needs(declared.role)(answer)
        blueprint.add_url_rule(path, view.__name__, guarded, methods=[method])
        return guarded

    return offer


def described(declared: Operation) -> Callable[[V], V]:
    """Puts a view which reads and answers by itself into the document."""

    def mark(view: V) -> V:
        view.operation = declared  # type: ignore[attr-defined]
        return view

    return mark


def _sent(answer: Any, adapter: TypeAdapter[Any], status: int) -> Response:
    if isinstance(answer, Response):
        return answer
    reply = answer if isinstance(answer, Reply) else Reply(answer, {})
    value = adapter.validate_python(reply.value)
    return Response(adapter.dump_json(value), status, reply.headers, mimetype=JSON)
