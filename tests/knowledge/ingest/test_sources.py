"""Folders, files and sites, taken in by real jobs from real servers into a real Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import os
import zipfile

import pytest
from aiohttp import web

from archon_transport.knowledge import discover, guard
from archon_transport.knowledge.fetch import MAX_BYTES, FetchError, fetching

WORDS = "Some words that are the content of a page, long enough to be one. " * 5


def pdf(text: str) -> bytes:
    stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(body)
    return body + b"xref\n0 6\n0000000000 65535 f \n" + table + end


def docx(text: str) -> bytes:
    file = io.BytesIO()
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" '
            'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="1" '
            'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
            'Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            f"<w:document {space}><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>",
        )
    return file.getvalue()


def reasons(ended) -> dict[str, str]:
    return {each["url"].rpartition("/")[2]: each["reason"] for each in ended.failures}


async def test_bad_files_are_told_and_the_others_are_taken_in(take_in, pool, tmp_path):
    """Whatever lies in a folder, the job goes through it; each failure says what is wrong with which file."""
    good = {
        "a.md": b"# A\n\n" + WORDS.encode(),
        "b.html": f"<h1>B</h1><p>{WORDS}</p>".encode(),
        "c.pdf": pdf("Words of a PDF"),
        "d.docx": docx("Words of a docx"),
        "e.py": b"def f():\n    return 1\n",
    }
    bad = {
        "binary.md": os.urandom(3000),
        "broken.pdf": b"%PDF-1.4\nnothing of one",
        "broken.docx": b"PK not a zip",
        "line.txt": b"x" * 10_000_000,
    }
    rest = {"empty.md": b"", "image.png": b"png", "search.html": b"<p>x</p>", ".hidden.md": b"# x"}
    for name, body in {**good, **bad, **rest}.items():
        (tmp_path / name).write_bytes(body)
    (tmp_path / "_sources").mkdir()
    (tmp_path / "_sources" / "a.txt").write_bytes(b"The same once more.")
    with (tmp_path / "huge.md").open("wb") as huge:
        huge.truncate(200 * 2**20)
    ended = await take_in(tmp_path)
    found = ended.results
    assert (ended.status, found["ingested"], found["failed"], found["pages"]) == ("completed", 5, 5, 5)
    told = reasons(ended)
    assert told.keys() == {*bad, "huge.md"}
    assert told["huge.md"] == f"200 MB is more than the {MAX_BYTES // 2**20} MB that are read of one document"
    assert told["binary.md"] == "not text: it looks binary"
    assert told["broken.pdf"].startswith("not a PDF that can be read")
    assert told["broken.docx"].startswith("not a docx that can be read")
    assert told["line.txt"].startswith("a line of 10,000,000 characters")
    assert found["skipped"] == {
        "empty": 1,
        "an index or a search page": 1,
        "no text is taken from this kind of file (png)": 1,
    }
    texts = dict(await pool.fetch("SELECT url, full_content FROM archon_page_metadata"))
    by_name = {url.rpartition("/")[2]: text for url, text in texts.items()}
    assert "Words of a PDF" in by_name["c.pdf"]
    assert "Words of a docx" in by_name["d.docx"]


async def test_a_second_run_changes_nothing_and_a_changed_folder_is_followed(take_in, stored, pool, tmp_path):
    """Unchanged files are passed by, changed ones are read again and keep their page's id, vanished ones go."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\n{WORDS}\n\n```sh\nrun {name}\nstop\n```\n")
    first = await take_in(tmp_path, tags=("t",))
    before = await stored()
    source = await pool.fetchrow("SELECT * FROM archon_sources")
    ids = dict(await pool.fetch("SELECT url, id FROM archon_page_metadata"))
    again = await take_in(tmp_path, tags=("t",))
    assert (first.results["ingested"], first.results["code_examples_stored"]) == (3, 3)
    assert (again.results["ingested"], again.results["unchanged"], again.results["removed"]) == (0, 3, 0)
    assert (await stored(), await pool.fetchrow("SELECT * FROM archon_sources")) == (before, source)
    (tmp_path / "a.md").write_text("# a\n\nOther words.")
    (tmp_path / "b.md").unlink()
    (tmp_path / "broken.md").write_bytes(b"\x00")
    third = await take_in(tmp_path, tags=("t",))
    assert (third.results["ingested"], third.results["unchanged"], third.results["removed"]) == (1, 1, 1)
    assert reasons(third) == {"broken.md": "not text: it looks binary"}
    now = dict(await pool.fetch("SELECT url, id FROM archon_page_metadata"))
    assert now == {url: ids[url] for url in now} and len(now) == 2
    left = await pool.fetch("SELECT url FROM archon_crawled_pages UNION SELECT url FROM archon_code_examples")
    assert {row["url"].rpartition("/")[2] for row in left} == {"a.md", "c.md"}


async def test_a_crawl_stays_in_its_folder_within_its_limits(take_in, site, pool):
    """It follows links as deep as asked, heeds robots.txt, and leaves other folders, hosts and kinds alone."""

    def page(title: str, *links: str) -> str:
        return f"<h1>{title}</h1><p>{WORDS}</p>" + "".join(f'<a href="{link}">to</a>' for link in links)

    site.pages = {
        "/robots.txt": "User-agent: *\nDisallow: /docs/secret",
        "/docs/": page(
            "Root", "a.html", "secret.html", "/blog/", "i.png", "http://other.invalid/docs/", "gone.html"
        ),
        "/docs/a.html": page("A", "deep.html#part"),
        "/docs/deep.html": page("Deep", "deeper.html"),
        "/docs/deeper.html": page("Deeper"),
        "/docs/secret.html": page("Secret"),
        "/blog/": page("Blog"),
    }
    ended = await take_in(f"{site.url}/docs/", depth=2)
    urls = [
        row["url"].removeprefix(site.url)
        for row in await pool.fetch("SELECT url FROM archon_page_metadata ORDER BY 1")
    ]
    assert urls == ["/docs/", "/docs/a.html", "/docs/deep.html"]
    assert ended.results["skipped"] == {"robots.txt asks not to fetch it": 1, "the server answered 404": 1}
    assert (site.asked["/robots.txt"], site.asked["/docs/secret.html"]) == (1, 0)

    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound(site.url.replace("127.0.0.1", "localhost") + "/blog/")

    site.pages["/docs/moved"] = elsewhere
    site.pages["/docs/"] = page("Root", "secret.html", "moved")
    again = await take_in(f"{site.url}/docs/", depth=2)
    assert (again.results["ingested"], again.results["removed"], again.results["pages"]) == (1, 3, 1)
    assert again.results["skipped"]["it leads to another site"] == 1
    limited = await take_in(f"{site.url}/docs/a.html", name="Other", depth=3, max_pages=2)
    assert limited.results["skipped"]["beyond the limit of 2 pages"] == 1


async def test_an_unchanged_page_is_asked_for_by_its_etag_and_a_failing_site_loses_nothing(take_in, site):
    """A 304 is enough; when the site fails, what is known of it stays."""
    site.pages = {
        "/": f'<h1>Root</h1><p>{WORDS}</p><a href="/a.html">a</a>',
        "/a.html": f'<h1>A</h1><p>{WORDS}</p><a href="/b.html">b</a>',
        "/b.html": f"<h1>B</h1><p>{WORDS}</p>",
    }
    await take_in(f"{site.url}/")
    again = await take_in(f"{site.url}/")
    assert (again.results["unchanged"], site.served["/a.html"], site.served["/b.html"]) == (3, 1, 1)

    async def broken(request: web.Request) -> web.Response:
        raise web.HTTPInternalServerError

    site.pages["/a.html"] = broken
    failing = await take_in(f"{site.url}/")
    assert (failing.results["pages"], failing.results["unchanged"]) == (3, 2)
    assert reasons(failing) == {"a.html": "the server answered 500"}


async def test_sitemaps_and_llms_texts_name_their_pages(take_in, site, pool):
    """A sitemap is followed through its index; llms.txt to its links; llms-full.txt becomes a page for each H1."""
    namespace = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
    site.pages = {
        "/sitemap.xml": f"<sitemapindex {namespace}><sitemap><loc>{site.url}/sitemap2.xml</loc></sitemap></sitemapindex>",
        "/sitemap2.xml": f"<urlset {namespace}><url><loc>{site.url}/p.html</loc></url><url><loc>http://x.invalid/</loc></url></urlset>",
        "/p.html": f"<h1>P</h1><p>{WORDS}</p>",
        "/llms.txt": f"# Site\n\n{WORDS}\n\n- [Q](q.html): about q",
        "/q.html": f"<h1>Q</h1><p>{WORDS}</p>",
        "/llms-full.txt": f"# Core Concepts\n\n{WORDS}\n\n```md\n# not one\n```\n\n# API\n\n{WORDS}",
    }
    for root, pages in (("sitemap.xml", 1), ("llms.txt", 2), ("llms-full.txt", 2)):
        ended = await take_in(f"{site.url}/{root}", name=root)
        assert (ended.status, ended.results["pages"], ended.failures) == ("completed", pages, [])
    rows = await pool.fetch(
        "SELECT url, section_title, section_order FROM archon_page_metadata WHERE url LIKE '%#%' ORDER BY section_order"
    )
    assert [(row["url"].rpartition("/")[2], row["section_title"], row["section_order"]) for row in rows] == [
        ("llms-full.txt#section-0-core-concepts", "# Core Concepts", 0),
        ("llms-full.txt#section-1-api", "# API", 1),
    ]


async def test_a_page_of_another_source_is_left_to_it(take_in, tmp_path, pool):
    """An address belongs to one source; the other is told which."""
    (tmp_path / "a.md").write_text(f"# A\n\n{WORDS}")
    first = await take_in(tmp_path, name="One")
    second = await take_in(tmp_path, name="Two")
    assert second.failures[0]["reason"].endswith(f"belongs to the source {first.source_id}")
    assert await pool.fetchval("SELECT count(*) FROM archon_page_metadata") == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><urlset>&b;</urlset>', "document type"),
        (b"<urlset>" + b"<a>" * 50, "nested too deeply"),
        (b"<html></html>", "not a sitemap"),
        (b"<urlset><url>", "not a sitemap"),
        (gzip.compress(b"<urlset>" + b" " * (MAX_BYTES + 1)), "unpacks to more"),
    ],
)
def test_a_hostile_sitemap_is_refused(body, said):
    """No entities, no depth, no bomb."""
    with pytest.raises(FetchError, match=said):
        discover.entries(body)


async def test_redirects_end_and_answers_are_bounded(site):
    """A loop, a body without end and a server that says nothing each end in a sentence."""

    async def around(request: web.Request) -> web.Response:
        raise web.HTTPFound("/loop?" + "x" * site.asked["/loop"])

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * 2**20)
        return response

    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    site.pages = {"/loop": around, "/endless": endless, "/silent": silent}
    async with fetching(allow_private=True, patience=3.0) as fetcher:
        for path, said in (
            ("loop", "more than 5 redirects"),
            ("endless", "the answer is more than the 20 MB"),
        ):
            with pytest.raises(FetchError, match=said):
                await fetcher.get(f"{site.url}/{path}")
    async with fetching(allow_private=True, patience=0.2) as fetcher:
        with pytest.raises(FetchError, match=r"no answer within 0\.2 seconds"):
            await fetcher.get(f"{site.url}/silent")


async def test_private_addresses_are_refused_by_number_by_name_and_by_redirect(site, monkeypatch):
    """Nothing inside is reached, however it is called and wherever a public page leads."""
    site.pages = {"/secret": "inside"}
    port = site.url.rpartition(":")[2]
    async with fetching() as fetcher:
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1"):
            with pytest.raises(FetchError, match=r"private address|not a canonical"):
                await fetcher.get(f"http://{host}:{port}/secret")
        with pytest.raises(FetchError, match="a user or a password"):
            await fetcher.get(f"http://u:p@public.test:{port}/")
    assert not site.asked
    resolve = guard.PublicResolver.resolve

    async def somewhere(self, host, port=0, family=0):
        found = await self._inner.resolve("127.0.0.1" if host == "public.test" else host, port, family)
        return found if host == "public.test" else await resolve(self, host, port, family)

    async def inside(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    monkeypatch.setattr(guard.PublicResolver, "resolve", somewhere)
    site.pages["/out"] = inside
    async with fetching() as fetcher:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(FetchError, match="private address"):
                await fetcher.get(f"http://public.test:{port}/out?to=http://{host}:{port}/secret")
        with pytest.raises(FetchError, match="not an http or https URL"):
            await fetcher.get(f"http://public.test:{port}/out?to=file:///etc/passwd")
    assert (site.asked["/out"], site.asked["/secret"]) == (3, 0)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:a00:1::", False),
    ],
)
def test_an_address_is_public_or_not(address, public):
    """Addresses that carry another are judged by that one too."""
    assert guard.is_public(address) is public
