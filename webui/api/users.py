"""users, tokens and the audit log, for admins; fwdcapd is asked for all of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from fwdcap import abi
from fwdcap.users.changes import MAX_PASSWORD, MIN_PASSWORD
from fwdcap.users.roles import Role
from webui.api.blueprint import blueprint
from webui.api.models import Answer, Given, Nanoseconds, PerPage, Query, Snaplen, whole
from webui.api.operation import Operation, operation
from webui.context import context

_NAME = "^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$"
_FILTER = "tcpdump's language; only a restricted user has one."
_SNAPLEN = "Bytes of each packet, 0: all; only a restricted user has one."

Name = Annotated[str, Field(pattern=_NAME)]
GivenRole = Annotated[Role, Field(strict=False)]
Password = Annotated[str, Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]
Moment = Annotated[int, Field(gt=0, le=2**63 - 1), BeforeValidator(whole)]


class User(Answer):
    name: str
    role: Role
    filter: str = Field(description=_FILTER)
    snaplen: int = Field(ge=0, le=abi.PCAP_SNAPLEN, description=_SNAPLEN)
    provisional: bool = Field(description="Others may know the password; it has to be changed.")


class Users(Answer):
    users: list[User]


class ChangedUser(User):
    message: str


class NewUser(Given):
    name: Name
    role: GivenRole
    password: Password
    filter: str = Field("", description=_FILTER)
    snaplen: Snaplen = Field(0, description=_SNAPLEN)


class UserChange(Given):
    """What is left out stays; sessions end with the password they began with."""

    role: GivenRole | None = None
    password: Password | None = None
    filter: str | None = Field(None, description=_FILTER)
    snaplen: Snaplen | None = Field(None, description=_SNAPLEN)


class Removed(Answer):
    name: str
    message: str


class Token(Answer):
    name: str
    user: str = Field(description="Whom it acts for.")
    role: Role = Field(description="At most this, and at most its user's.")
    made_ns: Nanoseconds
    expires_ns: Nanoseconds | None


class Tokens(Answer):
    tokens: list[Token]


class NewToken(Given):
    name: Name
    user: Name
    role: GivenRole | None = Field(None, description="Its user's where it is left out.")
    expires_ns: Moment | None = Field(None, description="Never where it is left out.")


class TokenChange(Given):
    """What is left out stays."""

    role: GivenRole | None = None
    expires_ns: Moment | None = None


class ChangedToken(Token):
    message: str


class MadeToken(ChangedToken):
    token: str = Field(description="Told this once: what `Authorization: Bearer` takes.")


class Last(Query):
    last: PerPage = Field(100, description="How many events.")


class AuditEvent(Answer):
    model_config = ConfigDict(extra="ignore", frozen=True, serialize_by_alias=True)

    time_ns: Nanoseconds
    who: str
    from_: str = Field(alias="from", description="An address, or the command line.")
    what: str
    target: str
    result: str = Field(description="done, or the code of a refusal.")


class AuditEvents(Answer):
    """Newest first."""

    events: list[AuditEvent]


@operation(blueprint, "GET", "/users", Operation("The users", Role.ADMIN, Users, refusals=(503,)))
def users() -> Any:
    return context().daemon.about_users(lambda daemon: daemon.users())


@operation(
    blueprint,
    "POST",
    "/users",
    Operation(
        "Add a user", Role.ADMIN, ChangedUser, status=201, body=NewUser, refusals=(409, 503, 507)
    ),
)
def add_user(body: NewUser) -> Any:
    return context().daemon.about_users(lambda daemon: daemon.user_add(_said(body)))


@operation(
    blueprint,
    "PATCH",
    "/users/<name>",
    Operation(
        "Change a user",
        Role.ADMIN,
        ChangedUser,
        body=UserChange,
        refusals=(404, 409, 503, 507),
    ),
)
def change_user(name: str, body: UserChange) -> Any:
    return context().daemon.about_users(lambda daemon: daemon.user_set(name, _said(body)))


@operation(
    blueprint,
    "DELETE",
    "/users/<name>",
    Operation("Remove a user and its tokens", Role.ADMIN, Removed, refusals=(404, 409, 503, 507)),
)
def remove_user(name: str) -> Any:
    return context().daemon.about_users(lambda daemon: daemon.user_remove(name))


@operation(
    blueprint, "GET", "/tokens", Operation("The tokens", Role.ADMIN, Tokens, refusals=(503,))
)
def tokens() -> Any:
    return context().daemon.about_users(lambda daemon: daemon.tokens())


@operation(
    blueprint,
    "POST",
    "/tokens",
    Operation(
        "Make a token, which is told this once",
        Role.ADMIN,
        MadeToken,
        status=201,
        body=NewToken,
        refusals=(404, 409, 503, 507),
    ),
)
def add_token(body: NewToken) -> Any:
    return context().daemon.about_users(lambda daemon: daemon.token_add(_said(body)))


@operation(
    blueprint,
    "PATCH",
    "/tokens/<name>",
    Operation(
        "Change a token's role or end",
        Role.ADMIN,
        ChangedToken,
        body=TokenChange,
        refusals=(404, 503, 507),
    ),
)
def change_token(name: str, body: TokenChange) -> Any:
    return context().daemon.about_users(lambda daemon: daemon.token_set(name, _said(body)))


@operation(
    blueprint,
    "DELETE",
    "/tokens/<name>",
    Operation("Remove a token, which stops at once", Role.ADMIN, Removed, refusals=(404, 503, 507)),
)
def remove_token(name: str) -> Any:
    return context().daemon.about_users(lambda daemon: daemon.token_remove(name))


@operation(
    blueprint,
    "GET",
    "/audit",
    Operation("The audit log, newest first", Role.ADMIN, AuditEvents, query=Last, refusals=(503,)),
)
def audit(query: Last) -> Any:
    return context().daemon.about_users(lambda daemon: daemon.audit(query.last))


def _said(body: Given) -> dict[str, Any]:
    """What a request said, without what it left out."""
    return body.model_dump(mode="json", exclude_unset=True, exclude_none=True)
