"""The OpenAPI document: it is valid, whole, and the application does what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from control_fakes import Clock, FakeMachine, eventually, service
from flask import Flask
from hypothesis import HealthCheck, Phase
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from store_builder import STARTED_NS, example
from web_fakes import PASSWORD, Site, make_site

from webui.api import NOUNS, models
from webui.api.openapi import document

pytestmark = pytest.mark.unit

S = "cli_capture_20150620_1128"
BASIC = ("fwdcap", PASSWORD)
EXAMPLES = 5


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = make_site(tmp_path)
    example(tmp_path)
    return site


@pytest.fixture
def described(site: Site) -> Any:
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", site.app, auth=BASIC)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The document of one application for all that is sent to it: making it takes longest."""
    site = make_site(tmp_path_factory.mktemp("store"))
    example(site.store)
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", site.app, auth=BASIC)


def operations(app: Flask) -> Iterator[tuple[str, str]]:
    """Method and path of what is reached below /api/v1, paths as the document writes them."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1/"):
            path = rule.rule.replace("<", "{").replace(">", "}")
            yield from ((method, path) for method in (rule.methods or set()) - {"HEAD"})


def test_the_document_has_every_address_and_no_other(site: Site) -> None:
    paths = site.get("/api/v1/openapi.json").json["paths"]
    written = {(method.upper(), path) for path in paths for method in paths[path]}
    more = {("GET", "/metrics"), ("GET", "/healthz")}
    assert written == set(operations(site.app)) | more
    assert len(written) > 15


def test_the_document_is_valid(described: Any) -> None:
    assert described.raw_schema["openapi"] == "3.1.0"
    described.validate()


def test_each_operation_says_its_role_and_its_refusals(site: Site) -> None:
    with site.app.app_context():
        paths = document(site.app)["paths"]
    for path, methods in paths.items():
        for method, found in methods.items():
            if path == "/healthz":
                assert found["security"] == []
                continue
            views = site.app.view_functions.items()
            view = next(view for name, view in views if _id(name) == found["operationId"])
            assert found["x-fwdcap-role"] == view.needed_role, path
            assert {"400", "401", "403", "429"} <= set(found["responses"]), (path, method)
            assert ("requestBody" in found) is ({"413", "415"} <= set(found["responses"]))


def _id(endpoint: str) -> str:
    return endpoint.replace(".", "_")


def test_every_noun_has_operations(site: Site) -> None:
    views = site.app.view_functions.values()
    homes = {view.__module__ for view in views if hasattr(view, "operation")}
    assert {noun.__name__ for noun in NOUNS} <= homes


def test_the_parameters_of_a_time_range_are_those_it_takes(site: Site) -> None:
    known = site.get("/api/v1/pcap/timerange?x=1").json["error"]["hint"]
    taken = set(known.removeprefix("Known: ").removesuffix(".").split(", "))
    paths = site.get("/api/v1/openapi.json").json["paths"]
    written = {each["name"] for each in paths["/api/v1/pcap/timerange"]["get"]["parameters"]}
    assert written == taken


X = {"path_parameters": {"name": "x"}}
REQUESTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("GET", "/api/v1/status", {}),
    ("GET", "/api/v1/interfaces", {}),
    ("GET", "/api/v1/system/time_current", {}),
    ("GET", "/api/v1/system/version", {}),
    ("GET", "/api/v1/streams", {}),
    ("GET", "/api/v1/streams/{stream}", {"path_parameters": {"stream": S}}),
    ("GET", "/api/v1/streams/{stream}/views", {"path_parameters": {"stream": S}}),
    (
        "GET",
        "/api/v1/streams/{stream}/splits",
        {"path_parameters": {"stream": S}, "query": {"view": "split_1sec"}},
    ),
    ("GET", "/api/v1/captures/current", {}),
    ("POST", "/api/v1/captures", {"body": {"name": "x"}}),
    ("GET", "/api/v1/captures/current", {}),
    ("DELETE", "/api/v1/captures/current", {}),
    ("PUT", "/api/v1/schedule", {"body": {"rows": [{"name": "x", "always": True}]}}),
    ("GET", "/api/v1/schedule", {}),
    ("GET", "/api/v1/routes", {}),
    (
        "GET",
        "/api/v1/pcap/timerange",
        {"query": {"TSBegin": str(STARTED_NS), "TSEnd": str(STARTED_NS + 10**9)}},
    ),
    ("POST", "/api/v1/interfaces/{name}/detach", {"path_parameters": {"name": "cap0"}}),
    ("POST", "/api/v1/interfaces/{name}/attach", {"path_parameters": {"name": "cap0"}}),
    ("DELETE", "/api/v1/streams/{stream}", {"path_parameters": {"stream": S}}),
    ("POST", "/api/v1/users", {"body": {"name": "x", "role": "viewer", "password": PASSWORD}}),
    ("GET", "/api/v1/users", {}),
    ("PATCH", "/api/v1/users/{name}", {**X, "body": {"role": "operator"}}),
    ("POST", "/api/v1/tokens", {"body": {"name": "x", "user": "x"}}),
    ("GET", "/api/v1/tokens", {}),
    ("PATCH", "/api/v1/tokens/{name}", {**X, "body": {"role": "viewer"}}),
    ("DELETE", "/api/v1/tokens/{name}", X),
    ("DELETE", "/api/v1/users/{name}", X),
    ("GET", "/api/v1/audit", {"query": {"last": 10}}),
    ("GET", "/api/v1/openapi.json", {}),
    ("GET", "/metrics", {}),
    ("GET", "/healthz", {}),
)


def test_every_operation_succeeds_as_it_is_described(site: Site, described: Any) -> None:
    done = set()
    for method, path, given in REQUESTS:
        operation = described[path][method]
        case = operation.Case(**given, media_type="application/json" if "body" in given else None)
        answer = case.call(app=site.app, auth=BASIC)
        assert answer.status_code in (200, 201), (method, path, answer.text)
        operation.validate_response(answer)
        done.add((method, path))
    paths = site.get("/api/v1/openapi.json").json["paths"]
    assert done == {(method.upper(), path) for path in paths for method in paths[path]}


def test_the_daemons_own_answers_fit_the_models(tmp_path: Path) -> None:
    """Without a key that nobody has described, and none missing."""
    machine = FakeMachine(tmp_path / "pins")
    machine.plug("cap0")
    daemon = service(tmp_path, machine, Clock())
    daemon.start()
    try:
        rows = [
            {"name": "all", "always": True, "enabled": False},
            {"name": "night", "days": ["mon"], "start": "22:00", "stop": "06:00"},
        ]
        fits(models.Schedule, daemon.schedule_put(rows, 0))
        fits(models.Interfaces, daemon.interfaces())
        for body in (daemon.status(), began(daemon), daemon.status(), ended(daemon)):
            kind = {"datapath": models.Status, "summary": models.Ended}
            model = next((kind[key] for key in kind if key in body), models.Began)
            fits(model, body)
        fits(models.Attached, daemon.datapath_detach("cap0"))
        fits(models.Attached, daemon.datapath_attach("cap0"))
    finally:
        daemon.close()


def began(daemon: Any) -> Any:
    return daemon.capture_start("x", 96, max_packets=10**6)


def ended(daemon: Any) -> Any:
    eventually(lambda: daemon.status()["capture"]["recorder"] == "running")
    return daemon.capture_stop()


def fits(model: Any, body: Any) -> None:
    """The model takes the body, and leaves nothing out of it but paths of the machine."""
    shown = model.model_validate(body).model_dump(mode="json")
    assert lost(body, shown) == []


def lost(body: Any, shown: Any, where: str = "") -> list[str]:
    """Keys of `body` that are not in `shown`."""
    if isinstance(body, dict) and isinstance(shown, dict):
        missing = [f"{where}.{key}" for key in body if key not in shown]
        both = [key for key in body if key in shown]
        return missing + [m for key in both for m in lost(body[key], shown[key], f"{where}.{key}")]
    if isinstance(body, list) and isinstance(shown, list):
        return [m for one, other in zip(body, shown, strict=True) for m in lost(one, other, where)]
    return []


OPERATIONS = sorted({(method, path) for method, path, _ in REQUESTS})
# Of what they take, a schema cannot say all: that a window holds time, which keys exclude others,
# what tcpdump's language is.
NOT_ALL_IN_THE_SCHEMA = {
    "/api/v1/pcap/timerange",
    "/api/v1/schedule",
    "/api/v1/users",
    "/api/v1/users/{name}",
    "/api/v1/tokens",
    "/api/v1/tokens/{name}",
}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_follows_the_document_is_answered_by_it(fuzzed: Any, method: str, path: str) -> None:
    unsure = [positive_data_acceptance] if path in NOT_ALL_IN_THE_SCHEMA else []
    fuzz(fuzzed[path][method].as_strategy(GenerationMode.POSITIVE), unsure)


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[1] != "/healthz"])
def test_what_does_not_follow_it_is_refused_by_it(fuzzed: Any, method: str, path: str) -> None:
    fuzz(fuzzed[path][method].as_strategy(GenerationMode.NEGATIVE))


def fuzz(strategy: Any, unsure: Sequence[Any] = ()) -> None:
    """Sends what the strategy makes; all of schemathesis's checks but `unsure` must hold.

    That there is no way in without a password is test_web_auth.py's: a wrong one costs 0.1 s.
    """

    @hypothesis.given(case=strategy)
    @hypothesis.settings(
        derandomize=True,
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: schemathesis.Case) -> None:
        case.call_and_validate(auth=BASIC, excluded_checks=[*unsure, ignored_auth])

    send()
