"""A Postgres behind PgBouncer in transaction mode, with TLS, as managed ones are: the store works through it."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from archon_transport.sessions.record import WireId
from archon_transport.store import PostgresStore, StoreError
from tests.faults.proxy import Proxy
from tests.needs import needs
from tests.program import free_port, until
from tests.sessions.rows import done, new_session

CONFIG = """
[databases]
{database} = host=127.0.0.1 port={port} dbname={database} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
client_tls_sslmode = require
client_tls_key_file = {home}/key.pem
client_tls_cert_file = {home}/cert.pem
"""


@pytest.fixture
async def pooled(dsn: str) -> AsyncIterator[str]:
    """The test's database through a PgBouncer that takes TLS only; its certificate is to be verified."""
    program, home, listen = needs("pgbouncer", "apt-get install pgbouncer"), directory(), free_port()
    parts = urlsplit(dsn)
    database, user = parts.path.strip("/"), parts.username or "postgres"
    async with Proxy(dsn) as proxy:  # PgBouncer may not enter the directory of the socket
        port = urlsplit(proxy.dsn).port
        text = CONFIG.format(database=database, port=port, user=user, listen=listen, home=home)
        command = [program, str(home / "pgbouncer.ini")]
        (home / "pgbouncer.ini").write_text(text)
        if os.geteuid() == 0:  # PgBouncer does not run as root
            owner = pwd.getpwnam("nobody")
            for path in (home, *home.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            command += ["-u", "nobody"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: answers(listen))
        verified = f"sslmode=verify-full&sslrootcert={home / 'cert.pem'}"
        yield f"postgresql://{user}@127.0.0.1:{listen}/{database}?{verified}"
        process.kill()
        process.wait()
    shutil.rmtree(home)


def directory() -> Path:
    """A directory with a certificate of its own for 127.0.0.1."""
    openssl, home = (
        needs("openssl", "apt-get install openssl"),
        Path(tempfile.mkdtemp(prefix="archon-pooler-")),
    )
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(home / "key.pem"), "-out", str(home / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return home


def answers(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_sessions_live_behind_a_pooler(pooled: str, dsn: str) -> None:
    """Fifty sessions at once over three server connections; their ends are heard past the pooler."""
    store = PostgresStore(pooled, direct=dsn, pool_size=10)
    await store.start()
    ended: list[str] = []
    store.subscribe(ended.append, lambda: None)
    try:
        wires = [WireId.mint() for _ in range(50)]
        await asyncio.gather(
            *(
                store.open(new_session(wire, connected_at=datetime.now(UTC)), node="a", limit=100)
                for wire in wires
            )
        )
        admitted = await asyncio.gather(*(store.admit(wire.session_id, node="a") for wire in wires))
        assert all(admitted)
        rows = [done(wire.session_id) for wire in wires]
        assert await store.write(rows, {}, node="a") == {wire.session_id: True for wire in wires}
        async with store.pool.acquire() as connection, connection.transaction():
            assert await connection.fetchval("SELECT $1::int + 1", 1) == 2
            await connection.executemany("SELECT $1::int", [(1,), (2,)])
        assert await store.end(wires[0].session_id, "operator")
        async with asyncio.timeout(5):
            while wires[0].session_id not in ended:
                await asyncio.sleep(0.01)
    finally:
        await store.close()


async def test_a_certificate_that_does_not_fit_is_refused_in_words(pooled: str) -> None:
    """Verification is the driver's; what it says reaches whoever starts the server."""
    other = PostgresStore(pooled.replace("@127.0.0.1", "@localhost"), patience=0)
    with pytest.raises(StoreError, match=r"certificate .* localhost"):
        await other.start()


def test_a_schema_needs_the_roles_search_path() -> None:
    """A pooler passes no settings on: asking for a schema through one is refused, with the way out."""
    with pytest.raises(ValueError, match="ALTER ROLE"):
        PostgresStore("postgresql://x/y", direct="postgresql://x/y", schema=uuid.uuid4().hex)
