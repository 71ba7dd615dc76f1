"""The OpenAPI 3.1 document: what the views declare, and nothing by hand beside it.

It has every address below /api/v1, and what else programs ask for by a
declaration: /metrics and /healthz.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask, Response, current_app
from pydantic import BaseModel, TypeAdapter
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.routing import Rule

import fwdcap
from fwdcap.users.roles import Role
from webui.api import models
from webui.api.blueprint import blueprint
from webui.api.operation import JSON, Operation, Parameter, operation

Body = dict[str, Any]

_REF = "#/components/schemas/{model}"
_PART = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_ALWAYS = (400, 401, 403, 429)
_OF_A_BODY = (413, 415)
_DESCRIPTION = (
    "Moments are nanoseconds of UTC since 1970 and counters are exact, both integers of up to "
    "64 bits. A role may what the roles before it may: "
    f"{', '.join(Role)}. A browser session must send its page's token as X-CSRFToken with "
    "whatever changes something; a password or a token of a program needs none."
)


@operation(
    blueprint,
    "GET",
    "/openapi.json",
    Operation("This document", Role.VIEWER, Mapping[str, Any]),
)
def openapi() -> Any:
    body = json.dumps(document(current_app), separators=(",", ":"))
    return Response(body, mimetype=JSON)


def document(app: Flask) -> Body:
    """The document of all that the application's views declare."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Body] = {}
    for rule, declared in sorted(_declared(app), key=lambda found: found[0].rule):
        method = next(iter((rule.methods or set()) - {"HEAD", "OPTIONS"})).lower()
        path = paths.setdefault(_PART.sub(r"{\1}", rule.rule), {})
        path[method] = _operation(rule, declared, schemas)
    _schema(models.Refusal, "serialization", schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "fwdcap", "version": fwdcap.__version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"basic": []}, {"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": current_app.config["SESSION_COOKIE_NAME"],
                },
            },
        },
    }


def _declared(app: Flask) -> Iterator[tuple[Rule, Operation]]:
    for rule in app.url_map.iter_rules():
        declared = getattr(app.view_functions[rule.endpoint], "operation", None)
        if isinstance(declared, Operation):
            yield rule, declared


def _operation(rule: Rule, declared: Operation, schemas: dict[str, Any]) -> Body:
    found: Body = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": declared.summary,
        "parameters": [*_path_parameters(rule), *_parameters(declared)],
        "responses": _responses(rule, declared, schemas),
    }
    if declared.role is None:
        found["security"] = []
    else:
        found["description"] = f"Needs the role {declared.role}."
        found["x-fwdcap-role"] = str(declared.role)
    if declared.body is not None:
        content = _schema(declared.body, "validation", schemas)
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": content}}}
    return found


def _path_parameters(rule: Rule) -> Iterator[Body]:
    for name in _PART.findall(rule.rule):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _parameters(declared: Operation) -> Iterator[Body]:
    for each in (*_query(declared.query), *declared.parameters):
        yield {
            "name": each.name,
            "in": each.place,
            "required": each.required,
            "description": each.description,
            "schema": dict(each.schema),
        }


def _query(model: type[BaseModel] | None) -> Iterator[Parameter]:
    if model is None:
        return
    schema = model.model_json_schema()
    for name, found in schema["properties"].items():
        plain = {key: value for key, value in found.items() if key not in ("title", "description")}
        needed = name in schema.get("required", ())
        yield Parameter(name, plain, found.get("description", ""), needed)


def _responses(rule: Rule, declared: Operation, schemas: dict[str, Any]) -> Body:
    content = (
        {JSON: {"schema": _schema(declared.answer, "serialization", schemas)}}
        if declared.answer is not None
        else {kind: {} for kind in declared.media_types}
    )
    headers = {
        name: {"description": said, "schema": {"type": "string"}}
        for name, said in (declared.headers or {}).items()
    }
    good: Body = {"description": declared.summary, "content": content}
    found = {str(declared.status): good | ({"headers": headers} if headers else {})}
    for status in declared.also:
        found[str(status)] = {"description": HTTP_STATUS_CODES[status]}
    refusal: Body = {JSON: {"schema": {"$ref": _REF.format(model="Refusal")}}}
    if JSON not in declared.media_types and not rule.rule.startswith(f"{blueprint.url_prefix}/"):
        refusal = {"text/plain": {}}
    usual = _ALWAYS if declared.role is not None else ()
    of_body = _OF_A_BODY if declared.body is not None else ()
    for status in sorted({*usual, *of_body, *declared.refusals}):
        found[str(status)] = {"description": HTTP_STATUS_CODES[status], "content": refusal}
    return found


def _schema(kind: Any, mode: Any, schemas: dict[str, Any]) -> Body:
    """The schema of a type; models go to `schemas` and are referred to."""
    found = TypeAdapter(kind).json_schema(mode=mode, ref_template=_REF)
    for name, inner in found.pop("$defs", {}).items():
        schemas[name] = inner
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return found
    schemas[kind.__name__] = found
    return {"$ref": _REF.format(model=kind.__name__)}
