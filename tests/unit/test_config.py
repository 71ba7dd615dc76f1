"""Settings: defaults, the file, overrides, and a sentence for everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap import config
from fwdcap.amounts import Size
from fwdcap.errors import FwdcapError, Invalid, NotFound
from fwdcap.users.roles import Role

pytestmark = pytest.mark.unit

GIB = 2**30


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fwdcap.toml"


def refusal(file: Path | None, text: str = "", **overrides: str) -> FwdcapError:
    """How `load` refuses this text and these overrides (store__snaplen=…)."""
    if file is not None:
        file.write_text(text)
    with pytest.raises(FwdcapError) as raised:
        config.load(file, {name.replace("__", "."): text for name, text in overrides.items()})
    for jargon in ("pydantic", "validation", "input", "Extra", "type="):
        assert jargon not in str(raised.value)
    return raised.value


def test_defaults_are_those_of_the_design() -> None:
    settings = config.load(None, {})
    assert settings == config.Settings()
    assert settings.interface.name is None
    assert (settings.interface.xdp, settings.interface.unmatched) == ("auto", "pass")
    assert settings.routes.file is None
    assert settings.store.path == Path("/var/lib/fwdcap")
    assert (settings.store.segment_bytes, settings.store.snaplen) == (1_000_000_000, 0)
    assert settings.ring.bytes == "auto"
    assert settings.web.listen == "127.0.0.1:8080"
    assert settings.control.socket == Path("/run/fwdcap/control.sock")
    assert settings.time.zone == "UTC"
    assert (settings.users.web, settings.users.recorder) == ("fwdcap-web", "fwdcap")


def test_a_file_sets_what_it_names_and_leaves_the_rest(file: Path) -> None:
    file.write_text(
        '[interface]\nname = "ens6"\nxdp = "generic"\nunmatched = "drop"\n'
        "[store]\nsnaplen = 96\n[ring]\nbytes = 1048576\n"
        '[web]\nlisten = "[::1]:80"\n[time]\nzone = "Europe/Berlin"\n[users]\nweb = "www"\n'
    )
    settings = config.load(file, {})
    assert settings.interface == config.Interface(name="ens6", xdp="generic", unmatched="drop")
    assert settings.store == config.Store(snaplen=96)
    assert settings.ring.bytes == 1048576
    assert settings.web.listen == "[::1]:80"
    assert settings.time.zone == "Europe/Berlin"
    assert settings.users == config.Users(web="www")
    assert settings.control == config.Control()


def test_paths_in_a_file_are_relative_to_it(file: Path) -> None:
    file.write_text('[routes]\nfile = "routes.toml"\n[store]\npath = "/absolute"\n')
    settings = config.load(file, {})
    assert settings.routes.file == file.parent / "routes.toml"
    assert settings.store.path == Path("/absolute")


def test_paths_in_overrides_are_relative_to_the_working_directory(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('[routes]\nfile = "routes.toml"\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    settings = config.load(file, {"routes.file": "mine.toml", "control.socket": "c.sock"})
    assert settings.routes.file == elsewhere / "mine.toml"
    assert settings.control.socket == elsewhere / "c.sock"


def test_overrides_win_over_the_file_and_keep_its_other_keys(file: Path) -> None:
    file.write_text('[store]\nsnaplen = 96\npath = "/a"\n')
    store = config.load(file, {"store.snaplen": "128"}).store
    assert (store.snaplen, store.path) == (128, Path("/a"))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("store.snaplen", "96", 96),
        ("store.segment_bytes", "2_000_000", 2_000_000),
        ("ring.bytes", "auto", "auto"),
        ("ring.bytes", '"auto"', "auto"),
        ("ring.bytes", "0x100000", 2**20),
        ("ring.count", "auto", "auto"),
        ("ring.count", "4", 4),
        ("interface.name", "ens6", "ens6"),
        ("interface.name", "7", "7"),
        ("interface.name", '"7"', "7"),
        ("web.listen", "0.0.0.0:80", "0.0.0.0:80"),
        ("web.listen", "fd:3", "fd:3"),
        ("web.listen", "localhost:0", "localhost:0"),
        ("users.web", "1000", "1000"),
    ],
)
def test_an_override_is_a_toml_value_or_else_text(name: str, text: str, value: object) -> None:
    table, key = name.split(".")
    assert getattr(getattr(config.load(None, {name: text}), table), key) == value


def test_unknown_key_names_file_table_key_and_the_nearest(file: Path) -> None:
    error = refusal(file, "[store]\nsnaplne = 96\n")
    assert (type(error), error.code) == (Invalid, "config-unknown-key")
    assert error.message == f"{file}: unknown key snaplne in table [store]."
    assert error.hint == (
        "Did you mean snaplen? Keys of [store] are path, segment_bytes, snaplen, max_bytes, "
        "max_age, min_free, archive, archive_above."
    )


def test_unknown_table_names_the_nearest(file: Path) -> None:
    error = refusal(file, '[sotre]\npath = "/x"\n')
    assert error.message == f"{file}: unknown table [sotre]."
    assert error.hint.startswith("Did you mean store? Tables are interface, routes, store,")


def test_a_key_outside_any_table_is_told_where_it_belongs(file: Path) -> None:
    error = refusal(file, "snaplen = 96\n")
    assert error.message == f"{file}: unknown key snaplen outside any table."
    assert error.hint == "It belongs to [store]."
    assert "Tables are" in refusal(file, "foo = 96\n").hint


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("max_bytes", "500_000_000_000", Size(500_000_000_000)),
        ("max_bytes", '"500GB"', Size(500_000_000_000)),
        ("max_bytes", '"80%"', Size(percent=80.0)),
        ("min_free", '"1.5 GiB"', Size(3 << 29)),
        ("min_free", "0", Size(0)),
        ("max_age", '"7d"', 7 * 86_400 * 10**9),
        ("archive_above", '"10%"', Size(percent=10.0)),
    ],
)
def test_limits_of_the_store(file: Path, key: str, value: str, found: object) -> None:
    file.write_text(f"[store]\n{key} = {value}\n")
    assert getattr(config.load(file, {}).store, key) == found
    assert getattr(config.load(None, {f"store.{key}": value}).store, key) == found


def test_limits_are_off_unless_set_and_the_archive_is_relative_to_the_file(file: Path) -> None:
    file.write_text('[store]\narchive = "old"\n')
    store = config.load(file, {}).store
    assert (store.max_bytes, store.max_age, store.min_free) == (None, None, None)
    assert (store.archive, store.archive_above) == (file.parent / "old", Size(percent=50.0))


@pytest.mark.parametrize(
    ("key", "value", "must"),
    [
        ("max_bytes", "0", "500GB"),
        ("max_bytes", '"0%"', "500GB"),
        ("max_bytes", '"101%"', "10%"),
        ("min_free", "-1", "500GB"),
        ("min_free", '"5 parsecs"', "500GB"),
        ("max_age", "7", "7d"),
        ("max_age", '"7y"', "7d"),
        ("archive_above", "true", "500GB"),
    ],
)
def test_mistakes_in_limits_are_named(file: Path, key: str, value: str, must: str) -> None:
    message = refusal(file, f"[store]\n{key} = {value}\n").message
    assert f"[store] {key} is {value}, but must be" in message
    assert must in message


def test_unknown_keys_of_overrides_name_the_flag(file: Path) -> None:
    assert (
        refusal(None, store__snaplne="96").message
        == "--set store.snaplne: unknown key snaplne in table [store]."
    )
    assert refusal(None, foo__x="1").message == "--set foo.x: unknown table [foo]."
    for name in ("snaplen", ".snaplen", "store."):
        with pytest.raises(Invalid, match=r"this is not table\.key"):
            config.load(None, {name: "1"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[interface]\nname = ""', '[interface] name is "", but must be the name of a network'),
        ('[interface]\nname = "a b"', '[interface] name is "a b"'),
        ('[interface]\nname = "sixteencharacter"', "[interface] name is"),
        ('[interface]\nname = ["a"]', '[interface] name is ["a"], but'),
        ('[interface]\nxdp = "fast"', 'xdp is "fast", but must be "auto", "native" or "generic"'),
        ('[interface]\nunmatched = "no"', 'but must be "pass" or "drop"'),
        ("[routes]\nfile = 1", "[routes] file is 1, but must be the path of a routes.toml"),
        ('[routes]\nfile = ""', '[routes] file is ""'),
        ('[store]\nsnaplen = "96"', 'snaplen is "96", but must be 0 (whole frames) or a number'),
        ("[store]\nsnaplen = -1", "[store] snaplen is -1"),
        ("[store]\nsnaplen = 65537", "[store] snaplen is 65537"),
        ("[store]\nsnaplen = 1.5", "[store] snaplen is 1.5"),
        ("[store]\nsnaplen = true", "[store] snaplen is true"),
        ("[store]\nsegment_bytes = 999", "segment_bytes is 999, but must be a number of bytes"),
        ('[store]\npath = ""', '[store] path is "", but must be the path of a directory'),
        ("[ring]\nbytes = 1000000", 'bytes is 1000000, but must be "auto" or a power of two'),
        ("[ring]\nbytes = 65536", "[ring] bytes is 65536"),
        ("[ring]\nbytes = 4294967296", "[ring] bytes is 4294967296"),
        ("[ring]\nbytes = 0", "[ring] bytes is 0"),
        ("[ring]\nbytes = true", "[ring] bytes is true"),
        ('[ring]\nbytes = "big"', '[ring] bytes is "big"'),
        ("[ring]\ncount = 0", 'count is 0, but must be "auto" or a number from 1 to 64'),
        ("[ring]\ncount = 65", "[ring] count is 65"),
        ("[ring]\ncount = true", "[ring] count is true"),
        ('[web]\nlisten = "8080"', 'listen is "8080", but must be HOST:PORT'),
        ('[web]\nlisten = "h:65536"', '[web] listen is "h:65536"'),
        ('[web]\nlisten = ":80"', '[web] listen is ":80"'),
        ('[web]\nlisten = "fd:x"', '[web] listen is "fd:x"'),
        ("[control]\nsocket = 5", "[control] socket is 5, but must be the path of a socket"),
        ('[time]\nzone = "Mars/Base"', 'zone is "Mars/Base", but must be a time zone'),
        ('[time]\nzone = "../etc"', '[time] zone is "../etc"'),
        ('[users]\nweb = ""', '[users] web is "", but must be the name of a user'),
        ("[users]\nrecorder = 0", "[users] recorder is 0"),
        ("store = 5", "store must be a table"),
        ("[[store]]\nsnaplen = 5", "store must be a table"),
    ],
)
def test_wrong_values_are_told_with_file_table_key_and_what_must_be(
    file: Path, text: str, says: str
) -> None:
    error = refusal(file, text)
    assert (type(error), error.code) == (Invalid, "config-invalid-value")
    assert error.message.startswith(f"{file}: ")
    assert says in error.message
    assert error.message.count(f"{file}") == 1
    assert error.hint


def test_a_wrong_override_names_the_flag_not_the_file(file: Path) -> None:
    error = refusal(file, "[store]\nsnaplen = 5\n", store__snaplen="much")
    assert error.message.startswith('--set store.snaplen: [store] snaplen is "much", but must be')
    assert str(file) not in error.message


def test_an_override_cannot_smuggle_in_other_keys() -> None:
    assert "--set store.snaplen" in refusal(None, store__snaplen="1\nx = 2").message


def test_everything_wrong_is_told_at_once(file: Path) -> None:
    error = refusal(file, '[store]\nsnaplen = -1\nfoo = 1\n[web]\nlisten = "x"\n')
    assert error.message.count(str(file)) == 3
    for part in ("snaplen is -1", "unknown key foo", 'listen is "x"'):
        assert part in error.message


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(NotFound, match=f"There is no settings file {file}"):
        config.load(file, {})


def test_bad_syntax_is_told_with_its_place(file: Path) -> None:
    error = refusal(file, "[store]\nsnaplen = \n")
    assert error.code == "config-syntax"
    assert f"{file} is not valid TOML" in error.message
    assert "line 2" in error.message
    file.write_bytes(b'[web]\nlisten = "\xff"\n')
    with pytest.raises(Invalid, match="is not valid TOML"):
        config.load(file, {})


def test_a_directory_is_not_a_settings_file(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read: Is a directory"):
        config.load(tmp_path, {})


def test_settings_do_not_change() -> None:
    settings = config.load(None, {})
    with pytest.raises(ValueError, match="frozen"):
        settings.store.snaplen = 1


@given(st.integers(min_value=1, max_value=2**45))
def test_auto_ring_is_a_power_of_two_of_at_most_a_sixteenth(memory_bytes: int) -> None:
    size = config.ring_bytes(config.Settings(), memory_bytes)
    assert size & (size - 1) == 0
    assert size % 65536 == 0
    assert config.MIN_RING_BYTES <= size <= config.AUTO_RING_BYTES
    assert size * 16 <= memory_bytes or size == config.MIN_RING_BYTES
    assert size * 32 > memory_bytes or size == config.AUTO_RING_BYTES


def test_ring_size_asked_for_is_taken_unless_it_cannot_fit() -> None:
    settings = config.Settings(ring=config.Ring(bytes=GIB))
    assert config.ring_bytes(settings, 2 * GIB) == GIB
    with pytest.raises(Invalid, match="more than half of this machine's"):
        config.ring_bytes(settings, 2 * GIB - 1)


@given(st.integers(min_value=1, max_value=2**45), st.integers(min_value=1, max_value=64))
def test_auto_rings_together_are_at_most_a_sixteenth(memory_bytes: int, count: int) -> None:
    settings = config.Settings(ring=config.Ring(count=count))
    size = config.ring_bytes(settings, memory_bytes)
    assert size & (size - 1) == 0
    assert size * count * 16 <= memory_bytes or size == config.MIN_RING_BYTES
    assert config.ring_count(settings) == count


def test_rings_asked_for_must_fit_together() -> None:
    settings = config.Settings(ring=config.Ring(bytes=GIB, count=4))
    assert config.ring_bytes(settings, 8 * GIB) == GIB
    with pytest.raises(Invalid, match="1073741824 times 4, more than half"):
        config.ring_bytes(settings, 8 * GIB - 1)


def test_one_ring_unless_asked_for_more() -> None:
    assert config.ring_count(config.Settings()) == 1


def test_rows_of_the_schedule_stand_in_the_file(file: Path) -> None:
    file.write_text(
        '[[schedule]]\nname = "office"\ndays = ["mon", "fri"]\nstart = "08:00"\nstop = "18:00"\n'
        '[[schedule]]\nname = "all"\nalways = true\nenabled = false\n[capture]\nroll = "06:30"\n'
    )
    settings = config.load(file, {})
    office, always = settings.schedule
    assert (office.name, office.days, office.start) == ("office", ["mon", "fri"], "08:00")
    assert (always.always, always.enabled) == (True, False)
    assert settings.capture.roll == "06:30"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[schedule]]\nalways = true\n", "a row of [[schedule]] has no name."),
        ("[[schedule]]\nname = 7\n", "[[schedule]] name is 7, but must be the name of its"),
        ('[[schedule]]\nname = "x"\ncolour = "red"\n', "unknown key colour in table [schedule]"),
        ('[[schedule]]\nname = "x"\nenabled = "yes"\n', 'enabled is "yes", but must be true'),
        ('[schedule]\nname = "x"\n', "schedule must be a list of tables."),
        ('schedule = ["x"]\n', "schedule must be a list of tables."),
        ('[capture]\nroll = "25:00"\n', '[capture] roll is "25:00", but must be a time of day'),
        ("[capture]\nroll = 0\n", "[capture] roll is 0"),
    ],
)
def test_mistakes_in_the_schedule_are_named(file: Path, text: str, said: str) -> None:
    error = refusal(file, text)
    assert str(file) in error.message
    assert said in error.message
    assert error.hint


def test_rows_cannot_be_set_by_a_flag() -> None:
    error = refusal(None, schedule__name="x")
    assert "cannot be set by a flag" in error.message


def test_other_ways_to_log_in(tmp_path: Path) -> None:
    file = tmp_path / "fwdcap.toml"
    file.write_text(
        '[users]\nproxy_from = ["10.0.0.5", "2001:db8::1/64"]\ngroups = { netops = "operator" }\n'
    )
    users = config.load(file, {"users.pam": "fwdcap"}).users
    assert users.proxy_from == ["10.0.0.5/32", "2001:db8::/64"]
    assert (users.groups, users.pam) == ({"netops": Role.OPERATOR}, "fwdcap")
    given = {"users.proxy_from": '["10.0.0.6"]', "users.groups": '{ a = "viewer" }'}
    users = config.load(file, given).users
    assert (users.proxy_from, users.groups) == (["10.0.0.6/32"], {"a": Role.VIEWER})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("metadata", "169.254.169.254"),
        ("metadata", "file:///etc/passwd"),
        ("pam", "../x"),
        ("proxy_header", "X Remote"),
        ("proxy_from", '["everybody"]'),
        ("proxy_from", "10.0.0.5"),
        ("groups", '{ a = "king" }'),
    ],
)
def test_a_wrong_way_to_log_in_is_named(key: str, text: str) -> None:
    with pytest.raises(Invalid, match=key):
        config.load(None, {f"users.{key}": text})
