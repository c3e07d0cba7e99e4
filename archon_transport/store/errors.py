"""What goes wrong with the database, and what a person can do about it.

    StoreError                 while starting: the program cannot go on, and the message says what to do
    ├── StoreUnreachableError  nobody answers, or not yet
    ├── StoreMisconfiguredError  the address, the login, the database or its rights are wrong
    ├── StoreUnsuitableError  not Postgres, too old, not UTF-8, read-only
    └── MigrationError  the tables are not what this version can work on

At run time there is one case only, `sessions.StoreUnavailable`. No message holds a password.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import asyncpg

from ..sessions.port import StoreUnavailable, Unwritable

_EXAMPLE = "postgresql://user:password@host:5432/database"


class StoreError(Exception):
    """The store cannot be started; the message says what to do."""


class StoreUnreachableError(StoreError):
    """No Postgres answers at the address, or it is not ready in time."""


class StoreMisconfiguredError(StoreError):
    """Postgres answers and refuses: wrong address, login, database or rights."""


class StoreUnsuitableError(StoreError):
    """What answers cannot hold our tables: another program, too old, not UTF-8, read-only."""


class MigrationError(StoreError):
    """The tables cannot be brought to this version; nothing was changed."""


# InternalClientError is what asyncpg says of a connection whose end it has half read.
_BROKEN = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InternalClientError)
LOST = (*_BROKEN, OSError)
"""The connection broke: whether the statement was executed is unknown."""

_AWAY = (
    *LOST,  # TimeoutError is an OSError
    asyncpg.InterfaceError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


def not_begun(error: BaseException) -> bool:
    """Whether the statement certainly left nothing behind: never sent, or rolled back by the server."""
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)  # a bad argument stays bad however often it is sent
    return isinstance(error, asyncpg.TransactionRollbackError)


@contextmanager
def translated() -> Iterator[None]:
    """Raise `StoreUnavailable` where the database cannot be asked now, `Unwritable` where it refuses data.

    Mistakes of ours pass. The text of an `Unwritable` has nothing of the data.
    """
    try:
        yield
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        raise Unwritable(type(error).__name__) from None
    except _AWAY as error:
        if isinstance(error, ValueError):
            raise
        raise StoreUnavailable(f"the database cannot be asked: {error or type(error).__name__}") from error


def address(dsn: str) -> str:
    """Where a DSN points, in words and without its password."""
    try:
        parts = urlsplit(dsn)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        host = parts.hostname or options.get("host") or "the default host"
        port = parts.port or options.get("port") or 5432
        return f"database {parts.path.strip('/') or options.get('database', '(default)')!r} at {host}:{port}"
    except ValueError:
        return "the database"


def explained(error: BaseException, where: str) -> StoreError:
    """The `StoreError` that says what to do about a failure to connect to `where`."""
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return StoreMisconfiguredError(f"{where}: {error}. Create it (createdb), or name another one.")
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InsufficientPrivilegeError):
        hint = "Check user and password in the database URL, and that the role may connect."
        return StoreMisconfiguredError(f"{where}: {error}. {hint}")
    if isinstance(error, ssl.SSLCertVerificationError):  # a ValueError too
        hint = "Check the host's name, and sslrootcert in the database URL."
        text = f"The certificate of {where} is refused: {error.verify_message} {hint}"
        return StoreMisconfiguredError(text)
    if isinstance(error, ValueError):
        # The text may quote a part of the URL, and that part may be of the password.
        hint = f"It looks like {_EXAMPLE}; characters such as / : @ in a password are written as %2F %3A %40."
        return StoreMisconfiguredError(f"The database URL is not understood. {hint}")
    if isinstance(error, asyncpg.CannotConnectNowError | asyncpg.TooManyConnectionsError):
        text = f"{where} takes no connection: {error}. Try again, or raise max_connections."
        return StoreUnreachableError(text)
    if isinstance(error, OSError) and type(error) is not ConnectionError:  # which asyncpg raises itself
        hint = "Is Postgres running there, and is the address right?"
        return StoreUnreachableError(f"Nobody answers for {where} ({error or 'timed out'}). {hint}")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return StoreUnsuitableError(f"{where} is read-only. Name the primary, not a replica.")
    hint = "Check host, port and sslmode."
    return StoreUnsuitableError(f"What answers for {where} does not speak as Postgres does ({error}). {hint}")
