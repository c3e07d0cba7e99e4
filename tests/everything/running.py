"""The server as a process of its own, for as long as a test needs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
STOP_SECONDS: Final = 20


class NotStarted(Exception):
    """It ended instead of listening; the text is the end of what it said."""


@contextmanager
def running(log: Path, database_url: str | None = None) -> Iterator[str]:
    """The URL at which it answers; what it logs is in `log`. Stopped by a signal, as it would be in earnest.

    Raises:
        NotStarted: it does not listen.
    """
    command = [sys.executable, "-W", "error", "-m", "tests.everything", "--port", "0"]
    command += [] if database_url is None else ["--database-url", database_url]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise NotStarted(log.read_text()[-500:])
            yield url
            process.terminate()
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
