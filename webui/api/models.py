"""What /api/v1 takes and answers, once: checked at run time, described from the same.

Answers are shaped by these models, so that a key which the daemon adds is not
part of the interface before somebody says here what it means. Moments are UTC
nanoseconds and counters are exact: integers of up to 64 bits, which a reader
must not put into a floating-point number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from fwdcap import abi
from fwdcap.store.names import NAME_CHARACTERS
from fwdcap.store.views import VIEWS

MOST_ROWS = 1000
_MOST = 2**63 - 1
# In the schema alone: whoever takes a name or a time says what is wrong with it.
_NAME: JsonDict = {"pattern": f"^[A-Za-z0-9_-][A-Za-z0-9_.-]{{0,{NAME_CHARACTERS - 1}}}$"}
_TIME: JsonDict = {"pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?|24:00(:00)?)$"}

_INT64: JsonDict = {"format": "int64"}
Count = Annotated[int, Field(ge=0, json_schema_extra=_INT64)]
Nanoseconds = Annotated[int, Field(ge=0, json_schema_extra=_INT64)]
Mode = Literal["ingress", "inline", "egress"]


def _digits(text: Any) -> Any:
    if isinstance(text, str) and not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ValueError("must be a whole number")
    return text


def whole(number: Any) -> Any:
    """1.0 is an integer in JSON Schema, and some programs write it so."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


# Bounds stand before the validator: behind it they would not get into the schema.
Integer = Annotated[int, BeforeValidator(whole)]
Snaplen = Annotated[int, Field(ge=0, le=abi.PCAP_SNAPLEN), BeforeValidator(whole)]
Cap = Annotated[int, Field(gt=0, le=_MOST, json_schema_extra=_INT64), BeforeValidator(whole)]
PageNumber = Annotated[int, Field(ge=1, le=10**9), BeforeValidator(_digits)]
PerPage = Annotated[int, Field(ge=1, le=MOST_ROWS), BeforeValidator(_digits)]


class Given(BaseModel):
    """What a request says: nothing unknown, nothing of another kind."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """Parameters of an address, which are texts there."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """What a request gets; keys that are not named here are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Error(Answer):
    code: str = Field(description="For programs: does not change.")
    message: str = Field(description="One sentence: what is wrong, and where.")
    hint: str = Field(description="What to do about it; may be empty.")


class Refusal(Answer):
    """Every answer of 400 and above."""

    error: Error


# ---- parameters


class Paging(Query):
    page: PageNumber = Field(1, description="The first page is 1.")
    per_page: PerPage = Field(200, description="Rows of a page.")


class SplitPaging(Paging):
    view: Literal[tuple(view.name for view in VIEWS)] = Field(  # type: ignore[valid-type]
        description="How to cut the stream."
    )


# ---- system


class Version(Answer):
    version: str = Field(description="Of this interface.")
    daemon: str | None = Field(description="Of fwdcapd; null where it does not answer.")


class Warn(Answer):
    code: str
    message: str
    hint: str = ""


class DataPath(Answer):
    interface: str | None
    state: Literal["none", "waiting", "forwarding", "detached"]
    mode: Literal["native", "generic"] | None
    why: str = Field(description="Why it is in this state or mode.")
    addresses: list[str]
    link: Literal["up", "down"]
    link_speed_mbit: Count = Field(description="Mbit/s, 0 where the driver does not say.")
    link_since_ns: Nanoseconds = Field(description="0 while the link is down.")
    mtu: int | None
    driver: str | None
    ring_used_bytes: Count = Field(description="Records that wait for the recorder.")
    ring_bytes: Count


class Forwarding(Answer):
    """Since the data path was attached."""

    packets: Count
    bytes: Count
    dropped: Count
    reasons: dict[str, Count] = Field(description="Packets by reason.")


class Way(Answer):
    """One direction of a route."""

    matched_packets: Count
    matched_bytes: Count
    forwarded_packets: Count
    forwarded_bytes: Count
    dropped_packets: Count
    recorded_packets: dict[Mode, Count]
    lost_packets: dict[Mode, Count]


class Route(Answer):
    id: int
    name: str
    enabled: bool
    client: str
    capture: str
    server: str
    egress: str
    modes: list[Mode]
    ttl: Literal["keep", "decrement"]


class CountedRoute(Route):
    to_server: Way
    to_client: Way


class Routes(Answer):
    routes: list[Route]


class LossEpisode(Answer):
    """Records lost one soon after the other."""

    ring: int | None
    reason: str
    records: Count
    first_ns: Nanoseconds
    last_ns: Nanoseconds


class Caps(Answer):
    max_bytes: int | None = None
    max_packets: int | None = None
    max_seconds: int | None = None


class Capture(Answer):
    """The running capture, or the last one; all names null where there was none yet."""

    active: bool
    name: str | None
    stream: str | None
    started_ns: Nanoseconds | None
    stopped_ns: Nanoseconds | None
    schedule: str | None = Field(description="The row of the schedule that started it.")
    caps: Caps
    snaplen: int | None
    continues: str | None = Field(description="The stream before this one of the same capture.")
    ended: str | None = Field(description="In a word: by what it ended.")
    received_packets: Count
    error_packets: Count = Field(description="Matched and not forwarded.")
    emitted_records: Count
    emitted_bytes: Count
    committed_records: Count = Field(description="Of those, readable by a download.")
    committed_bytes: Count
    pending_bytes: Count
    lost_records: Count
    lost: dict[str, Count] = Field(description="By reason.")
    losses: list[LossEpisode]
    bps: Count = Field(description="Bits of frames in the last second.")
    pps: Count = Field(description="Records in the last second.")
    recorder: str
    message: str


class Archive(Answer):
    there: bool
    used_bytes: Count
    free_bytes: Count
    total_bytes: Count


class Store(Answer):
    used_bytes: Count
    free_bytes: Count
    total_bytes: Count
    archive: Archive | None


class Status(Answer):
    version: str
    time_ns: Nanoseconds
    zone: str = Field(description="Time zone of texts and stream names.")
    uptime_s: Count = Field(description="Of the machine.")
    datapath: DataPath
    forwarding: Forwarding
    routes: list[CountedRoute]
    capture: Capture
    store: Store
    warnings: list[Warn]


# ---- interfaces


class Interface(Answer):
    name: str
    link: Literal["up", "down"]
    link_speed_mbit: Count
    mtu: int | None
    driver: str | None
    addresses: list[str]
    datapath: Literal["waiting", "forwarding", "detached"] | None = Field(
        description="The state of the data path on it; null where it is not the capture interface."
    )


class Interfaces(Answer):
    interfaces: list[Interface]


class Attached(Answer):
    interface: str
    message: str
    lines: list[str] = Field(description="What else was done.")


# ---- streams


class Stream(Answer):
    model_config = ConfigDict(extra="ignore", frozen=True, from_attributes=True)

    stream: str
    name: str = Field(description="Of its capture.")
    state: Literal["recording", "complete", "recovered", "unfinished", "interrupted"]
    started_ns: Nanoseconds
    stopped_ns: Nanoseconds | None
    first_ns: Nanoseconds | None = Field(description="Time of its first record.")
    last_ns: Nanoseconds | None
    packets: Count = Field(description="Records.")
    size_bytes: Count = Field(description="Exactly, as one pcap.")
    lost: Count
    snaplen: int = Field(description="0: whole frames.")
    trimmed: bool = Field(description="Retention has removed its beginning.")
    problem: str
    schedule: str
    ended: str
    message: str
    continues: str
    continued_by: str


class Page(Answer):
    page: int
    pages: int = Field(description="At least 1; a page after the last is empty.")
    per_page: int
    total: Count = Field(description="Rows of all pages.")


class Streams(Page):
    """Newest first."""

    streams: list[Stream]


class View(Answer):
    name: str
    period_ns: int | None = Field(description="Of a view by time.")
    size_bytes: int | None = Field(description="Of a view by size.")
    splits: str = Field(description="Address of its splits.")


class Views(Answer):
    stream: str
    views: list[View]


class Split(Answer):
    """[start_ns, stop_ns)."""

    name: str
    start_ns: Nanoseconds
    stop_ns: Nanoseconds
    packets: Count
    size_bytes: Count = Field(description="Exactly what its pcap has.")
    pcap: str = Field(description="Address of its download.")


class Splits(Page):
    """In order of time; of a running capture the last one grows."""

    stream: str
    view: str
    splits: list[Split]


class Deleted(Answer):
    stream: str
    message: str


# ---- captures


class Start(Given):
    name: str = Field(json_schema_extra=_NAME)
    snaplen: Snaplen | None = Field(None, description="Bytes kept of a frame, 0: all.")
    max_bytes: Cap | None = Field(None, description="Of the capture as one pcap.")
    max_packets: Cap | None = None
    max_seconds: Cap | None = None


class Began(Answer):
    name: str
    stream: str
    message: str
    time_ns: Nanoseconds


class Summary(Answer):
    packets: Count
    bytes: Count
    lost_records: Count
    lost: dict[str, Count]
    losses: list[LossEpisode]
    seconds: float
    ended: str = Field(description="How, in a word.")
    message: str = Field(description="Why, where nobody asked for it; else empty.")


class Ended(Began):
    summary: Summary | None = None


# ---- schedule


class Row(BaseModel):
    """24/7, or weekdays with a start and a stop in the appliance's zone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(json_schema_extra=_NAME, description="Of its captures.")
    enabled: bool = True
    always: bool = Field(False, description="24/7; then without days and times.")
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] | None = Field(
        None, max_length=7
    )
    start: str | None = Field(None, json_schema_extra=_TIME)
    stop: str | None = Field(None, json_schema_extra=_TIME)


class GivenRow(Row):
    """What the appliance says of a row may stay in it and means nothing there."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    managed: bool | None = None
    state: str | None = None
    until_ns: Integer | None = None
    next_ns: Integer | None = None
    message: str | None = None


class ShownRow(Row):
    model_config = ConfigDict(extra="ignore", frozen=True)

    managed: bool = Field(description="Stands in the settings file and cannot be changed here.")
    state: Literal["disabled", "recording", "idle", "stopped", "failed", "waiting"]
    until_ns: Nanoseconds | None = Field(description="When the window it is in ends.")
    next_ns: Nanoseconds | None = Field(description="When it starts next.")
    message: str


class GivenSchedule(Given):
    """The whole list. What else an answer has besides may stay in it."""

    rows: list[GivenRow] = Field(max_length=256)
    revision: Integer | None = None
    zone: str | None = None
    roll: str | None = None


class Schedule(Answer):
    revision: int = Field(description="Counts its changes; the ETag is the same.")
    zone: str
    roll: str = Field(description="When a 24/7 capture begins a new stream; empty: never.")
    rows: list[ShownRow]
