"""The command line against a daemon made up for it: tables, JSON, sentences, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from control_fakes import Clock, FakeMachine, service

from fwdcap import __version__
from fwdcap.cli import datapath as datapath_command
from fwdcap.cli import doctor as doctor_command
from fwdcap.cli import main, options, output
from fwdcap.cli.run import overrides
from fwdcap.control import daemon
from fwdcap.errors import Conflict, FwdcapError, Unavailable

pytestmark = pytest.mark.unit

NOT_RUNNING = Unavailable("The daemon is not running.", code="daemon-not-running", hint="Start it.")


class Daemon:
    """Stands for the client: asks a real service on a fake machine."""

    def __init__(self, root: Path) -> None:
        self.machine = FakeMachine(root)
        self.machine.plug("cap0")
        self.service = service(root, self.machine, Clock())
        self.service.start()
        self.away: FwdcapError | None = None

    def __getattr__(self, verb: str) -> Any:
        if self.away:
            raise self.away
        return getattr(self.service, verb)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    asked = Daemon(tmp_path)
    for module in ("capture", "place", "route", "schedule", "status"):
        monkeypatch.setattr(f"fwdcap.cli.{module}.client", lambda: asked)
    monkeypatch.setattr(datapath_command, "client", lambda: asked)
    monkeypatch.setattr(doctor_command, "client", lambda: asked)
    yield asked
    if asked.service.running:
        asked.service.capture_stop()
    asked.service.close()


Out = pytest.CaptureFixture[str]


def run(line: str, capsys: Out) -> tuple[int, str, str]:
    code = main.run(line.split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_version(capsys: Out) -> None:
    for line in ("version", "--version"):
        assert run(line, capsys) == (0, f"fwdcap {__version__}\n", "")


def test_every_command_has_its_help(capsys: Out) -> None:
    code, out, _ = run("--help", capsys)
    assert code == 0
    for name in ("run", "status", "route", "capture", "datapath", "doctor", "lab", "version"):
        assert f"\n  {name} " in out


@pytest.mark.parametrize(
    "line", ["nothing", "capture start", "capture start x --snaplen -1", "route"]
)
def test_wrong_usage_is_exit_2(capsys: Out, line: str) -> None:
    code, _, err = run(line, capsys)
    assert code == 2
    assert err


def test_an_error_is_a_sentence_with_a_hint(capsys: Out, tmp_path: Path) -> None:
    code, out, err = run(f"--control {tmp_path}/none status", capsys)
    assert (code, out) == (1, "")
    assert err.startswith("error: The fwdcap daemon is not running")
    assert "fwdcap run" in err
    assert len(err.splitlines()) == 1


def test_control_is_taken_before_and_after_the_command(
    capsys: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    class Recording(Daemon):
        def __init__(self, socket: Path | None) -> None:
            assert socket is not None
            seen.append(socket)
            self.away = NOT_RUNNING

    monkeypatch.setattr(options, "Client", Recording)
    run("--control /a status", capsys)
    run("status --control /b", capsys)
    run("capture --control /c list", capsys)
    assert seen == [Path("/a"), Path("/b"), Path("/c")]


def test_status_on_one_screen(asked: Daemon, capsys: Out) -> None:
    code, out, _ = run("status", capsys)
    assert code == 0
    assert "cap0, 10.0.0.100/24, link up, generic mode" in out
    assert "capture    none yet" in out
    assert "10.0.0.1 -> 10.0.0.2" in out


def test_status_while_recording_and_after(asked: Daemon, capsys: Out) -> None:
    asked.capture_start("x")
    _, out, _ = run("status", capsys)
    assert "[x] recording since 2027-01-15 08:00:00" in out
    asked.machine.paths["cap0"].emit(5, lost=2)
    asked.capture_stop()
    _, out, _ = run("status", capsys)
    assert "idle; last [x]" in out
    assert "2 ring-full" in out


def test_status_as_json_is_the_daemons(asked: Daemon, capsys: Out) -> None:
    for line in ("status --json", "--json status"):
        _, out, _ = run(line, capsys)
        body = json.loads(out)
        assert body["datapath"]["interface"] == "cap0"


def test_a_capture_by_hand(asked: Daemon, capsys: Out) -> None:
    code, out, _ = run("capture start x", capsys)
    assert (code, out.splitlines()[0]) == (0, "Successfully started capture [x].")
    code, _, err = run("capture start y", capsys)
    assert (code, err) == (1, "error: Capture [x] is already running. Stop it first.\n")
    _, out, _ = run("capture list", capsys)
    assert "x_20270115_0800  recording" in out
    assert out.split()[3] == "RECORDS"
    code, out, _ = run("capture stop --json", capsys)
    assert json.loads(out)["message"] == "successfully stopped capture [x]"


def test_an_empty_store_says_what_to_do(asked: Daemon, capsys: Out) -> None:
    _, out, _ = run("capture list", capsys)
    assert "fwdcap capture start NAME" in out


def test_routes_in_a_table(asked: Daemon, capsys: Out) -> None:
    _, out, _ = run("route list", capsys)
    header, row = out.splitlines()
    assert header.split()[:2] == ["ID", "NAME"]
    assert row.split()[:3] == ["1", "demo", "10.0.0.1"]
    _, out, _ = run("route list --json", capsys)
    assert json.loads(out)["routes"][0]["name"] == "demo"


def test_datapath_show_detach_attach(asked: Daemon, capsys: Out) -> None:
    _, out, _ = run("datapath show", capsys)
    assert "forwarding, generic mode" in out
    code, out, _ = run("datapath detach", capsys)
    assert (code, out) == (0, "Detached from cap0, nothing is forwarded any more.\n")
    code, out, _ = run("datapath attach cap0", capsys)
    assert code == 0
    assert "Attached to cap0 in generic mode" in out
    code, _, err = run("datapath attach nope0", capsys)
    assert code == 1
    assert "no interface nope0" in err


class Alone:
    """Stands for control.offline: notes what it was asked."""

    asked: list[Any]

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        Alone.asked = []

    def datapath(self) -> Any:
        return {"datapaths": []}

    def left_behind(self) -> list[str]:
        return ["cap0"]

    def datapath_detach(self, interface: str | None = None) -> Any:
        Alone.asked.append(interface)
        return {"interface": interface, "message": "detached", "lines": ["a line"]}

    def doctor(self) -> Any:
        failed = {"name": "kernel", "level": "failure", "message": "It is old.", "hint": "Renew."}
        fine = {"name": "bpffs", "level": "ok", "message": "Fine.", "hint": ""}
        return {"checks": [failed, fine]}


@pytest.fixture
def alone(asked: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.away = NOT_RUNNING
    monkeypatch.setattr("fwdcap.control.offline.Offline", Alone)


@pytest.mark.usefixtures("alone")
def test_without_a_daemon_the_data_path_can_be_seen_and_removed(capsys: Out) -> None:
    code, out, _ = run("datapath show", capsys)
    assert code == 0
    assert "No data path is attached" in out
    code, out, _ = run("datapath detach cap0", capsys)
    assert (code, out, Alone.asked) == (0, "A line\nDetached.\n", ["cap0"])


@pytest.mark.usefixtures("alone")
def test_status_without_a_daemon_says_what_still_forwards(capsys: Out) -> None:
    code, out, err = run("status", capsys)
    assert (code, out) == (1, "")
    assert err == (
        "error: The daemon is not running. Start it. cap0 goes on forwarding; "
        "`fwdcap datapath show` tells more.\n"
    )


@pytest.mark.usefixtures("alone")
def test_a_failure_of_the_doctors_is_exit_1(capsys: Out) -> None:
    code, out, _ = run("doctor", capsys)
    assert code == 1
    assert out == (
        "warn  daemon  The daemon is not running. Start it.\n"
        "FAIL  kernel  It is old. Renew.\n"
        "ok    bpffs   Fine.\n"
    )


def test_the_doctor_takes_interface_and_routes_as_run_does(
    asked: Daemon, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Noting(Alone):
        def __init__(self, settings: Any) -> None:
            seen.append(settings)

    monkeypatch.setattr("fwdcap.control.offline.Offline", Noting)
    run("doctor --interface 7 --routes r.toml", capsys)
    assert (seen[0].interface.name, seen[0].routes.file) == ("7", Path.cwd() / "r.toml")


def test_streams_are_those_of_the_daemon_that_answers(asked: Daemon, capsys: Out) -> None:
    asked.service.capture_start("mine")
    stream = asked.service.capture_stop()["stream"]
    _, out, _ = run("stream list", capsys)
    assert out.splitlines()[1].startswith(stream)
    code, out, _ = run(f"stream views {stream}", capsys)
    assert (code, "split_1sec" in out) == (0, True)
    asked.away = NOT_RUNNING
    _, out, err = run("stream list", capsys)
    assert stream not in out + err


def test_the_doctor_asks_the_daemon(asked: Daemon, capsys: Out) -> None:
    _, out, _ = run("doctor", capsys)
    assert "Attached to cap0 in generic mode" in out


def test_what_a_slow_daemon_holds_is_not_taken_from_it(asked: Daemon, capsys: Out) -> None:
    asked.away = Unavailable("It did not answer.", code="daemon-slow")
    for line in ("datapath detach", "doctor"):
        code, _, err = run(line, capsys)
        assert (code, err) == (1, "error: It did not answer.\n")


def test_another_interface_than_the_daemons_is_detached_without_it(
    asked: Daemon, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fwdcap.control.offline.Offline", Alone)
    run("datapath detach old0", capsys)
    assert Alone.asked == ["old0"]
    assert not asked.machine.paths["cap0"].detached


def test_run_turns_flags_into_settings(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(daemon, "run", lambda settings, say, environment: seen.append(settings))
    line = "run --interface 7 --xdp generic --routes r.toml --store s --listen 0.0.0.0:80"
    assert run(f"{line} --control c.sock --set store.snaplen=96", capsys)[0] == 0
    (settings,) = seen
    assert (settings.interface.name, settings.interface.xdp) == ("7", "generic")
    assert settings.routes.file == Path.cwd() / "r.toml"
    assert settings.store.path == Path.cwd() / "s"
    assert settings.control.socket == Path.cwd() / "c.sock"
    assert (settings.web.listen, settings.store.snaplen) == ("0.0.0.0:80", 96)


def test_run_refuses_unknown_settings_and_wrong_usage(capsys: Out) -> None:
    code, _, err = run("run --set store.colour=red", capsys)
    assert code == 1
    assert "unknown key colour" in err
    assert run("run --set store", capsys)[0] == 2


def test_overrides_keep_what_follows_the_first_equals_sign() -> None:
    assert overrides(("a.b=c=d", " x.y = 1 ")) == {"a.b": "c=d", "x.y": "1"}


def test_an_interrupt_is_not_a_traceback(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(daemon, "run", interrupted)
    assert run("run", capsys)[0] == 130


def test_a_refusal_keeps_its_exit_code(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise Conflict("Another program is attached.", code="other-program", hint="Remove it.")

    monkeypatch.setattr(daemon, "run", refused)
    code, _, err = run("run", capsys)
    assert (code, err) == (1, "error: Another program is attached. Remove it.\n")


def test_what_the_system_refuses_is_a_sentence_too(
    capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "/sys/fs/bpf")

    monkeypatch.setattr(daemon, "run", refused)
    code, _, err = run("run", capsys)
    assert (code, err) == (1, "error: The system refused: Permission denied (/sys/fs/bpf).\n")


def test_tables_are_aligned() -> None:
    assert output.table(("A", "COUNT"), [("long name", "1"), ("b", "1,000")], right=(1,)) == (
        "A          COUNT\nlong name      1\nb          1,000"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (10**9, "1.0 GB"), (10**18, "1000.0 PB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert output.size(size) == text


def test_moments_for_people() -> None:
    assert output.moment(None) == "-"
    assert output.moment(1_800_000_000_000_000_000, "Asia/Tokyo") == "2027-01-15 17:00:00"
    assert output.moment(1_800_000_000_000_000_000, "No/Where") == "2027-01-15 08:00:00"


def test_a_capture_is_given_limits(asked: Daemon, capsys: Out) -> None:
    line = "capture start x --snaplen 96 --max-bytes 10GB --max-packets 7 --max-seconds 60"
    assert run(line, capsys)[0] == 0
    assert asked.service.status()["capture"]["caps"] == {
        "max_bytes": 10**10,
        "max_packets": 7,
        "max_seconds": 60,
    }
    _, shown, _ = run("status", capsys)
    assert "ends at    10,000,000,000 bytes, 7 packets, 60 seconds" in shown


@pytest.mark.parametrize(
    "option", ["--max-bytes 10", "--max-bytes tall", "--max-packets 0", "--max-seconds 1h"]
)
def test_limits_that_make_no_sense_are_refused(asked: Daemon, capsys: Out, option: str) -> None:
    code, _, error = run(f"capture start x {option}", capsys)
    assert code in (1, 2)
    assert error
    assert asked.service.running is None


def test_a_stop_sums_up(asked: Daemon, capsys: Out) -> None:
    run("capture start x", capsys)
    asked.machine.paths["cap0"].emit(10, lost=2)
    code, shown, _ = run("capture stop", capsys)
    assert code == 0
    assert "recorded  10 records, 1.0 kB in 0.0 s" in shown
    assert "lost      2 ring-full\n" in shown
    assert "          2 ring-full, ring 0, 2027-01-15 08:00:00 to 08:00:00" in shown
    _, shown, _ = run("status", capsys)
    assert "lost       2 ring-full" in shown
    assert "2 ring-full, ring 0, 2027-01-15 08:00:00 to 08:00:00" in shown
    _, shown, _ = run("capture list", capsys)
    assert shown.splitlines()[1].endswith("stopped")


def test_a_loss_over_midnight_has_both_days() -> None:
    second = 10**9
    late = {"ring": None, "reason": "disk", "records": 1234, "first_ns": 86_399 * second}
    assert output.episodes([{**late, "last_ns": 86_401 * second}], "UTC") == [
        "1,234 disk, 1970-01-01 23:59:59 to 1970-01-02 00:00:01"
    ]


def test_status_says_how_many_losses_it_leaves_out(asked: Daemon, capsys: Out) -> None:
    run("capture start x", capsys)
    body = asked.service.status()
    loss = {"ring": 1, "reason": "ring-full", "first_ns": 10**9, "last_ns": 10**9}
    body["capture"]["losses"] = [{**loss, "records": records} for records in range(1, 9)]
    asked.status = lambda: body
    _, shown, _ = run("status", capsys)
    assert "3 earlier, which --json shows" in shown
    assert "4 ring-full, ring 1" in shown
    assert "3 ring-full, ring 1" not in shown


def test_a_capture_is_rolled(asked: Daemon, capsys: Out) -> None:
    run("capture start x", capsys)
    code, shown, _ = run("capture roll", capsys)
    assert code == 0
    assert "goes on in x_20270115" in shown
    _, shown, _ = run("capture list", capsys)
    assert "rolled, goes on in x_20270115" in shown


def test_the_schedule_is_edited_row_by_row(asked: Daemon, capsys: Out) -> None:
    code, shown, _ = run("schedule list", capsys)
    assert (code, "is empty" in shown) == (0, True)
    code, shown, _ = run("schedule add office --days mon-fri --start 08:00 --stop 18:00", capsys)
    assert code == 0
    assert "Added row [office]." in shown
    assert "mon, tue, wed, thu, fri" in shown
    assert run("schedule add all --always --disabled", capsys)[0] == 0
    assert run("schedule set all --enable", capsys)[0] == 0
    assert run("schedule set office --stop 19:00", capsys)[0] == 0
    rows = asked.service.schedule()["rows"]
    assert [(row["name"], row["enabled"], row.get("stop")) for row in rows] == [
        ("office", True, "19:00"),
        ("all", True, None),
    ]
    assert run("schedule set office --always", capsys)[0] == 0
    assert "days" not in asked.service.schedule()["rows"][0]
    assert run("schedule set office --days sun --start 01:00 --stop 02:00", capsys)[0] == 0
    assert asked.service.schedule()["rows"][0]["days"] == ["sun"]
    code, shown, _ = run("schedule remove all --json", capsys)
    assert [row["name"] for row in json.loads(shown)["rows"]] == ["office"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("schedule add office", "has a row [office] already"),
        ("schedule set nobody --enable", "has no row [nobody]"),
        ("schedule remove nobody", "has no row [nobody]"),
        ("schedule add x --days mon", "start is missing"),
        ("schedule add x --days someday --start 1:00 --stop 2:00", "days are missing or unknown"),
        ("schedule set office --days mon --start 99:00", "start is '99:00'"),
        ("schedule add a/b --always", "cannot be used"),
    ],
)
def test_mistakes_in_the_schedule_change_nothing(
    asked: Daemon, capsys: Out, line: str, said: str
) -> None:
    run("schedule add office --always", capsys)
    before = asked.service.schedule()
    code, _, error = run(line, capsys)
    assert (code, said in error) == (1, True), error
    assert asked.service.schedule() == before
