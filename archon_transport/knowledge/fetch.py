"""Getting one document: over HTTP with every guard on, or from a file.

A `Fetcher` serves one job. It asks robots.txt, follows redirects itself (each is checked as the first address
was), stops at a size and a time, and says in a `FetchError` why there is nothing. What has not changed
since the last time is `None`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from .. import __version__
from .guard import PrivateAddress, PublicResolver, refusal

if TYPE_CHECKING:
    from protego import Protego

AGENT = "archon-transport"
MAX_BYTES = 20 * 1024 * 1024
MAX_ROBOTS = 512 * 1024
MAX_REDIRECTS = 5
PATIENCE = 30.0
"""Seconds for one document, redirects included."""

RETRIES = 2
MAX_PAUSE = 10.0
"""Seconds of a Retry-After or a Crawl-delay that are waited out."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({429, 502, 503, 504})


class FetchError(Exception):
    """Why there is no document; `skipped` says that it does not exist (any more), or is not to be read."""

    def __init__(self, reason: str, *, skipped: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.skipped = skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One document as it came. `url` is where it was found in the end."""

    url: str
    body: bytes
    content_type: str = ""
    charset: str | None = None
    etag: str | None = None
    last_modified: str | None = None

    @property
    def digest(self) -> str:
        """What tells this content from another."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(slots=True)
class _Host:
    """What one host asks of robots, and when it may be asked next."""

    rules: Protego | None
    pause: float
    turn: asyncio.Lock


class Fetcher:
    """Fetches for one job."""

    def __init__(self, session: aiohttp.ClientSession, *, allow_private: bool, patience: float) -> None:
        self._session = session
        self._allow_private = allow_private
        self._patience = patience
        self._hosts: dict[str, asyncio.Task[_Host]] = {}

    async def get(
        self, url: str, *, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched | None:
        """The document at `url`; None when it is the one that the two validators name.

        Raises:
            FetchError: it says why there is none.
        """
        if url.startswith("file:"):
            return await asyncio.to_thread(read_file, url)
        wanted = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        headers = {name: value for name, value in wanted.items() if value}
        for attempt in range(RETRIES + 1):
            try:
                async with asyncio.timeout(self._patience):
                    return await self._follow(url, headers)
            except TimeoutError:
                raise FetchError(f"no answer within {self._patience:g} seconds") from None
            except _Busy as busy:
                if attempt == RETRIES:
                    raise FetchError(f"the server answered {busy.status}") from None
                await asyncio.sleep(min(busy.pause or 0.5 * 2**attempt, MAX_PAUSE))
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise FetchError(_told(error)) from None
        raise AssertionError("the last attempt returns or raises")

    async def _follow(self, url: str, headers: dict[str, str]) -> Fetched | None:
        for _ in range(MAX_REDIRECTS + 1):
            if reason := refusal(url, allow_private=self._allow_private):
                raise FetchError(reason)
            host = await self._host(url)
            if host.rules is not None and not host.rules.can_fetch(url, AGENT):
                raise FetchError("robots.txt asks not to fetch it", skipped=True)
            if host.pause:
                async with host.turn:
                    await asyncio.sleep(host.pause)
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                target = response.headers.get("Location")
                if response.status in _REDIRECTS and target:
                    url = urljoin(url, target).partition("#")[0]
                    continue
                return await self._read(url, response)
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    async def _read(self, url: str, response: aiohttp.ClientResponse) -> Fetched | None:
        if response.status == 304:
            return None
        if response.status in _BUSY:
            asked = response.headers.get("Retry-After", "")
            raise _Busy(response.status, float(asked) if asked.isdigit() else 0.0)
        if response.status != 200:
            raise FetchError(f"the server answered {response.status}", skipped=response.status in (404, 410))
        return Fetched(
            url=url,
            body=await _body(response, MAX_BYTES),
            content_type=response.content_type,
            charset=response.charset,
            etag=response.headers.get("ETag"),
            last_modified=response.headers.get("Last-Modified"),
        )

    async def _host(self, url: str) -> _Host:
        """What the host of `url` asks of robots, read once for everybody who waits for it."""
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        if place not in self._hosts:
            self._hosts[place] = asyncio.create_task(self._robots(place), name="robots")
        return await asyncio.shield(self._hosts[place])

    async def _robots(self, place: str) -> _Host:
        from protego import Protego

        host = _Host(None, 0.0, asyncio.Lock())
        try:
            async with asyncio.timeout(self._patience):
                # A redirect of robots.txt is not followed: it would be one more address to check.
                async with self._session.get(f"{place}/robots.txt", allow_redirects=False) as response:
                    if response.status != 200:
                        return host
                    text = (await _body(response, MAX_ROBOTS)).decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError, FetchError, ValueError):
            return host  # the page itself will say what is wrong with the host
        host.rules = Protego.parse(text)
        host.pause = min(float(host.rules.crawl_delay(AGENT) or 0), MAX_PAUSE)
        return host

    async def close(self) -> None:
        """Give up what still waits."""
        for task in self._hosts.values():
            task.cancel()
        if self._hosts:
            await asyncio.wait(self._hosts.values())


class _Busy(Exception):
    """The server asks to come back later."""

    def __init__(self, status: int, pause: float) -> None:
        super().__init__(status)
        self.status = status
        self.pause = pause


@asynccontextmanager
async def fetching(*, allow_private: bool = False, patience: float = PATIENCE) -> AsyncIterator[Fetcher]:
    """A fetcher whose connections last as long as the context."""
    resolver = None if allow_private else PublicResolver()
    # Proxies from the environment are not used: they would resolve names for us, unchecked.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, limit_per_host=4),
        headers={"User-Agent": f"{AGENT}/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        fetcher = Fetcher(session, allow_private=allow_private, patience=patience)
        try:
            yield fetcher
        finally:
            await fetcher.close()


def read_file(url: str) -> Fetched:
    """A file by its `file://` URL.

    Raises:
        FetchError: it cannot be read, or is too large.
    """
    path = Path(unquote(urlsplit(url).path))
    try:
        if not path.is_file():
            raise FetchError("there is no such file", skipped=not path.exists())
        if (size := path.stat().st_size) > MAX_BYTES:
            raise FetchError(_too_large(f"{size / 2**20:.0f} MB"))
        return Fetched(url=url, body=path.read_bytes())
    except OSError as error:
        raise FetchError(error.strerror or str(error)) from None


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body as it is after decompression, read no further than to its limit."""
    body = bytearray()
    async for part in response.content.iter_chunked(64 * 1024):
        body += part
        if len(body) > limit:
            raise FetchError(_too_large("the answer"))
    return bytes(body)


def _too_large(what: str) -> str:
    return f"{what} is more than the {MAX_BYTES // 2**20} MB that are read of one document"


def _told(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, PrivateAddress):
        return f"{cause}; private addresses are not fetched"
    return str(error) or type(error).__name__
