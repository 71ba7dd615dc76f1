"""What a request of /api/v1 says, checked against a model.

Nothing is guessed: an unknown key or parameter is refused by its name, and a
body is JSON that says it is. That is more than tidiness: a page of another site
cannot make a browser send application/json without asking us first.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import UnsupportedMediaType

from fwdcap.errors import Invalid
from fwdcap.store.names import shorten
from webui.query import parameters

M = TypeVar("M", bound=BaseModel)


def query(model: type[M]) -> M:
    """The parameters of the address; raises Invalid."""
    return _checked(model, parameters(tuple(model.model_fields)))


def body(model: type[M]) -> M:
    """The request's JSON object; raises Invalid, and UnsupportedMediaType for another kind."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    decoded = _decoded(request.get_data())
    if not isinstance(decoded, dict):
        raise Invalid(
            "The request's body is no JSON object.", code="bad-json", hint='Begin it with "{".'
        )
    return _checked(model, decoded)


def no_body() -> None:
    """Raises Invalid or UnsupportedMediaType where there is one that means something."""
    raw = request.get_data()
    if not raw:
        return
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    if _decoded(raw) != {}:
        raise Invalid("This request takes no body.", code="unknown-key", hint="Leave it out.")


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw, parse_constant=_no_number, object_pairs_hook=_once)
    except RecursionError:
        why = "it is nested too deeply"
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        why = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except ValueError as error:  # a number of thousands of digits, or one of the hooks'
        why = str(error).partition(";")[0]
    raise Invalid(
        f"The request's body is no JSON: {why}.", code="bad-json", hint="Correct it and send again."
    )


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"{shorten(twice)} is there twice")


def _checked(model: type[M], given: Any) -> M:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _refusal(error, model) from None


def _refusal(error: ValidationError, model: type[BaseModel]) -> Invalid:
    """The first mistake as a sentence; an unknown key before others, it is often a typing error."""
    mistakes = error.errors(include_url=False, include_context=False, include_input=False)
    mistake = next((each for each in mistakes if each["type"] == "extra_forbidden"), mistakes[0])
    where = shorten(".".join(str(part) for part in mistake["loc"]), 80).strip("'\"")
    if mistake["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        hint = f"Known: {known}." if len(mistake["loc"]) == 1 else "Leave it out."
        return Invalid(f"The key {where} is not known here.", code="unknown-key", hint=hint)
    if mistake["type"] == "missing":
        return Invalid(f"{where} is missing.", code="missing-key", hint=f"Add {where}.")
    said = mistake["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
    joint = " " if said.startswith("must") else ": "
    return Invalid(f"{where}{joint}{said}.", code="bad-value", hint="Correct it or leave it out.")
