"""Errors a user may meet.

Every one is a sentence that says what is wrong and where, a hint that says what
to do, and a code that programs can compare. CLI, API and pages show the same
sentence; the class decides the exit code and the HTTP status.

    FwdcapError            refused                    exit 1, HTTP 500
     ├─ Invalid            bad input                  exit 1, HTTP 400
     ├─ Forbidden          not allowed                exit 1, HTTP 403
     ├─ NotFound           no such thing              exit 1, HTTP 404
     ├─ Conflict           not in this state          exit 1, HTTP 409
     ├─ Stale              changed since it was read  exit 1, HTTP 412
     ├─ TooMany            come back later            exit 1, HTTP 429
     ├─ Unavailable        daemon or interface away   exit 1, HTTP 503
     └─ DiskFull           no space in the store      exit 1, HTTP 507

Wrong usage of the command line is click's business (exit 2).
"""

from __future__ import annotations

from typing import ClassVar


class FwdcapError(Exception):
    """A refusal: `message` is one sentence, `hint` what to do about it."""

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_dict(self) -> dict[str, str]:
        """The JSON form that API and control socket use."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class Invalid(FwdcapError):
    http_status = 400


class Forbidden(FwdcapError):
    http_status = 403


class NotFound(FwdcapError):
    http_status = 404


class Conflict(FwdcapError):
    http_status = 409


class Stale(FwdcapError):
    http_status = 412


class TooMany(FwdcapError):
    """Refused for now; `retry_s` is how many seconds to wait."""

    http_status = 429

    def __init__(self, message: str, *, code: str, hint: str = "", retry_s: int = 1) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_s = retry_s


class Unavailable(FwdcapError):
    http_status = 503


class DiskFull(FwdcapError):
    http_status = 507


_BY_STATUS: dict[int, type[FwdcapError]] = {
    kind.http_status: kind
    for kind in (
        FwdcapError,
        Invalid,
        Forbidden,
        NotFound,
        Conflict,
        Stale,
        TooMany,
        Unavailable,
        DiskFull,
    )
}


def from_dict(status: int, body: dict[str, str]) -> FwdcapError:
    """The error that `to_dict` described, as the class its HTTP status stands for."""
    kind = _BY_STATUS.get(status, FwdcapError)
    return kind(
        body.get("message", f"The daemon answered {status}."),
        code=body.get("code", "unknown"),
        hint=body.get("hint", ""),
    )
