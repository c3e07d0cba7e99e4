"""Settings: where a value comes from, what is allowed, and what is never shown."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from archon_transport.settings import Settings, SettingsError, load, options, redact

SECRET = "hunter2"
URL = f"postgresql://archon:{SECRET}@db.example.com:5432/archon"


def test_a_flag_goes_before_its_variable_and_the_variable_before_the_default():
    """Three sources, one order."""
    environ = {"ARCHON_PORT": "2"}
    assert load({"port": "1"}, environ).port == 1
    assert load({"port": None}, environ).port == 2
    assert load({}, {}).port == 8051


def test_the_database_is_also_named_by_the_usual_variable():
    """DATABASE_URL counts, after our own variable and the flag."""
    environ = {"DATABASE_URL": "postgresql:///usual"}
    assert load({}, environ).database_url == "postgresql:///usual"
    environ["ARCHON_DATABASE_URL"] = "postgresql:///ours"
    assert load({}, environ).database_url == "postgresql:///ours"
    assert load({"database_url": "postgresql:///flag"}, environ).database_url == "postgresql:///flag"


@pytest.mark.parametrize("setting", options(), ids=lambda setting: setting.name)
def test_an_empty_variable_is_not_set(setting):
    """A line such as ARCHON_PORT= in an environment file means the default."""
    assert load({}, {setting.variable: ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("host", "0.0.0.0", "0.0.0.0"),
        ("host", "::1", "::1"),
        ("path", "/a/mcp/", "/a/mcp"),
        ("allow_host", "a.example.com, b:8051,c:*,[::1]:80", ("a.example.com", "b:8051", "c:*", "[::1]:80")),
        ("allow_host", ["a", "b,c"], ("a", "b", "c")),
        ("allow_origin", "https://a.example.com", ("https://a.example.com",)),
        ("allow_unauthenticated", "Yes", True),
        ("allow_unauthenticated", "0", False),
        ("allow_unauthenticated", True, True),
        ("database_url", "postgres://u@h1:1,h2:2/d", "postgres://u@h1:1,h2:2/d"),
        ("database_url", "postgresql:///d?host=/run/postgresql", "postgresql:///d?host=/run/postgresql"),
        ("data_dir", "/srv/archon", Path("/srv/archon")),
        ("session_idle_timeout", "12h", 43200.0),
        ("session_idle_timeout", "none", None),
        ("session_idle_timeout", "0", None),
        ("session_sleep_after", "5m", 300.0),
        ("drain", "0", 0.0),
        ("drain", "1.5", 1.5),
        ("log_level", "DEBUG", "debug"),
        ("log_format", "json", "json"),
    ],
)
def test_a_value_is_read_as_a_person_writes_it(name, text, value):
    """Lists have commas, durations have units, words have any case."""
    assert getattr(load({name: text}, {}), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("host", "two words"),
        ("port", "65536"),
        ("port", "-1"),
        ("port", "http"),
        ("path", "mcp"),
        ("path", "/"),
        ("path", "/health"),
        ("path", "/a/../b"),
        ("path", "/a?b"),
        ("allow_host", "https://archon.example.com"),
        ("allow_host", "archon.example.com/mcp"),
        ("allow_origin", "app.example.com"),
        ("allow_origin", "https://app.example.com/"),
        ("allow_unauthenticated", "perhaps"),
        ("data_dir", "~no-such-user-here/x"),
        ("session_idle_timeout", "-1"),
        ("session_idle_timeout", "1 week"),
        ("session_sleep_after", "0"),
        ("sweep_grace", "nan"),
        ("max_sessions", "0"),
        ("max_cached_sessions", "many"),
        ("drain", "2h"),
        ("log_level", "loud"),
        ("log_format", "xml"),
    ],
)
def test_a_bad_value_names_its_source_and_what_is_allowed(name, text):
    """One line: the flag or the variable it came from, what is allowed, and what was given."""
    setting = next(each for each in options() if each.name == name)
    for flags, environ, origin in (
        ({name: text}, {}, setting.flag),
        ({}, {setting.variable: text}, setting.variable),
    ):
        with pytest.raises(SettingsError) as caught:
            load(flags, environ)
        assert str(caught.value) == f"{origin} must be {setting.option.allowed}, not {text!r}"


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://archon:{SECRET}@db/archon",
        f"postgresql://archon:{SECRET}/x@db/archon",
        f"postgresql://archon:1/{SECRET}@db/archon",
        f"postgresql://archon:1#{SECRET}@db/archon",
        f"postgresql://archon:{SECRET}@db:port/archon",
        f"postgresql://archon:{SECRET}@[db/archon",
        SECRET,
    ],
)
def test_a_bad_database_url_is_never_shown(url):
    """Where the password begins is unknown in a URL that cannot be read, so none of it is printed."""
    with pytest.raises(SettingsError) as caught:
        load({}, {"DATABASE_URL": url})
    assert str(caught.value).startswith("DATABASE_URL must be a URL such as postgresql://user:password@host")
    assert SECRET not in str(caught.value)
    assert SECRET not in redact(url) or "@" not in url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "postgresql://archon:***@db.example.com:5432/archon"),
        ("postgresql://archon@db/archon", "postgresql://archon@db/archon"),
        ("postgresql:///d?host=/tmp&password=x&user=u", "postgresql:///d?host=/tmp&password=***&user=u"),
        ("postgresql://u:p@h1:1,h2:2/d?sslmode=require", "postgresql://u:***@h1:1,h2:2/d?sslmode=require"),
        ("postgresql://u:a@b@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:1?2@h/d", "postgresql://***"),
    ],
)
def test_a_shown_database_url_has_no_password(url, shown):
    """Everything but the password helps whoever reads it."""
    assert redact(url) == shown


def test_the_record_does_not_show_its_database():
    """A record of settings that ends up in a log or a traceback gives no password away."""
    settings = load({"database_url": URL}, {})
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    with pytest.raises(ValidationError) as caught:
        Settings(database_url=f"mysql://u:{SECRET}@h/d")
    assert SECRET not in str(caught.value)


@pytest.mark.spec("S-04")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST."])
def test_a_loopback_address_needs_nothing_more(host):
    """What only this machine can reach is not exposed."""
    assert load({"host": host}, {}).exposure() is None


@pytest.mark.spec("S-04")
@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.7", "archon.example.com", "localhost.example.com"]
)
def test_another_address_needs_a_name_and_a_word_about_identity(host):
    """Open to other machines: both options are asked for, by name, until both are given."""
    named, open_to_all = {"allow_host": "archon.example.com"}, {"allow_unauthenticated": True}
    complaint = load({"host": host}, {}).exposure() or ""
    assert f"--host {host}" in complaint
    assert "--allow-host" in complaint
    assert "--allow-unauthenticated" in complaint
    assert "--allow-host" not in (load({"host": host} | named, {}).exposure() or "--allow-host")
    assert "--allow-unauthenticated" not in (
        load({"host": host} | open_to_all, {}).exposure() or "--allow-un"
    )
    assert load({"host": host} | named | open_to_all, {}).exposure() is None
    assert "--auth tokens" in complaint
    assert load({"host": host} | named | {"auth": "Tokens"}, {}).exposure() is None


def test_the_data_directory_is_the_users_own_unless_it_is_roots(monkeypatch):
    """Nobody says where: root's service has the system's place, a person has the usual one at home."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Settings().data_directory == Path("/var/lib/archon-transport")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert Settings().data_directory == Path("/home/ada/.local/share/archon-transport")
    monkeypatch.setenv("XDG_DATA_HOME", "/data/ada")
    assert Settings().data_directory == Path("/data/ada/archon-transport")
    assert Settings(data_dir=Path("/srv/a")).data_directory == Path("/srv/a")


def test_a_user_without_a_home_is_asked_for_a_directory(monkeypatch):
    """A container's user may have none: the message names the option."""
    monkeypatch.setattr("os.geteuid", lambda: 54321)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with pytest.raises(SettingsError, match="--data-dir"):
        Settings().data_directory  # noqa: B018


def test_settings_stay_few():
    """Forty is what one person can still look through; one more has to replace another."""
    assert len(options()) <= 40
