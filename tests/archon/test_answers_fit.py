"""No answer is longer than an assistant reads, and what was left out can be had."""

from __future__ import annotations

import json

import pytest

from archon_transport.archon.budget import CHARACTERS, as_json, excerpt, fitted


@pytest.fixture
async def project(pool) -> str:
    return str(await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('P') RETURNING id"))


def test_a_text_is_read_in_pieces() -> None:
    """The pieces are the text, and the last one says that nothing follows."""
    assert excerpt("abcde", 0, 2) == ("ab", 5, 2)
    assert excerpt("abcde", 2, 2) == ("cd", 5, 4)
    assert excerpt("abcde", 4, 2) == ("e", 5, None)
    assert excerpt("abcde", 9, 2) == ("", 5, None)


async def test_a_text_that_grows_in_json_is_read_whole(call, pool, project) -> None:
    """Each piece of a text that is twice as long in JSON fits into an answer, and together they are the text."""
    text = '"\\' * 45_000
    docs = json.dumps([{"id": "d", "content": {"markdown": text}}])
    await pool.execute("UPDATE archon_projects SET docs = $1::text::jsonb", docs)
    await pool.execute("INSERT INTO archon_sources (source_id) VALUES ('s')")
    await pool.execute(
        "INSERT INTO archon_page_metadata (source_id, url, full_content, word_count, char_count) "
        "VALUES ('s', 'https://x', $1, 1, 1)",
        text,
    )
    read, offset = "", 0
    while offset is not None:
        answer = await call("find_documents", project_id=project, document_id="d", offset=offset)
        piece = answer["document"]["piece"]
        read, offset = read + piece["text"], piece["next_offset"]
    assert (read, answer.get("note")) == (text, None)
    read, offset = "", 0
    while offset is not None:
        answer = await call("rag_read_full_page", url="https://x", offset=offset, limit=100_000)
        read, offset = read + answer["page"]["full_content"], answer["next_offset"]
    assert (read, answer.get("note")) == (text, None)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        ["x" * 100] * 10**4,
        [[{"a": ["é" * 50] * 40}] * 40] * 40,
        {str(n): "x" * 90 for n in range(10**4)},
    ],
    ids=["text", "list", "nested", "keys"],
)
def test_whatever_it_is_fits(value: object) -> None:
    """The last resort cuts until it fits and says so; an answer that fits is left alone."""
    small = {"success": True, "value": 1}
    assert fitted(small) is small
    cut = fitted({"success": True, "value": value})
    assert len(as_json(cut)) <= CHARACTERS
    assert cut["success"] is True
    assert "too long" in cut["note"]


async def test_a_list_shrinks_its_page(call, pool, project) -> None:
    """Following the note's pages shows every item, though not all of a page fit into one answer."""
    await pool.execute(
        "INSERT INTO archon_tasks (project_id, title, description, task_order) "
        "SELECT $1, repeat('t', 900), repeat('d', 1000), n FROM generate_series(1, 200) AS n",
        project,
    )
    seen, page, size = [], 2, 100
    while True:
        answer = await call("find_tasks", page=page, per_page=size)
        assert len(as_json(answer)) <= CHARACTERS
        assert answer["count"] == len(answer["tasks"])
        seen += [task["task_order"] for task in answer["tasks"]]
        if not answer["has_more"]:
            break
        if note := answer.get("note"):
            size, page = (int(part.split("=")[1].strip(",")) for part in note.split() if "page=" in part)
        else:
            page += 1
    assert sorted(set(seen)) == list(range(101, 201))


async def test_only_the_keys_that_are_asked_for(call, pool, project) -> None:
    """`fields` leaves out the other keys, but not the id, and refuses what is no key."""
    await call("manage_task", action="create", project_id=project, title="T")
    (task,) = (await call("find_tasks", fields=["title", "status"]))["tasks"]
    assert task.keys() == {"id", "title", "status"}
    (item,) = (await call("find_projects", fields="title, pinned"))["projects"]
    assert item.keys() == {"id", "title", "pinned"}
    refused = (await call("find_tasks", fields=["name"]))["error"]["message"]
    assert refused.startswith("fields: must be among id, project_id, title,")


async def test_a_long_description_is_read_in_pieces(call, pool, project) -> None:
    """One item shows as much of its description as is asked for, and where the next piece begins."""
    text = "".join(chr(97 + n % 26) for n in range(45_000))
    key = str(
        await pool.fetchval(
            "INSERT INTO archon_tasks (project_id, title, description) VALUES ($1, 'T', $2) RETURNING id",
            project,
            text,
        )
    )
    await pool.execute("UPDATE archon_projects SET description = $1", text)
    for tool, what in (("find_tasks", {"task_id": key}), ("find_projects", {"project_id": project})):
        found, offset = "", 0
        while offset is not None:
            answer = await call(tool, **what, offset=offset, limit=20_000)
            assert answer["total_chars"] == len(text)
            found += (answer.get("task") or answer.get("project"))["description"]
            offset = answer["next_offset"]
        assert found == text
        whole = await call(tool, **what, limit=40_000)
        assert whole["next_offset"] == 40_000


async def test_a_project_with_megabytes(call, pool, project) -> None:
    """A project alone shows its documents whole where they fit, else without their content."""
    documents = [{"id": str(n), "title": f"D{n}", "content": {"markdown": "x" * 60_000}} for n in range(2)]
    await pool.execute("UPDATE archon_projects SET docs = $1", json.dumps(documents[:1]))
    assert (await call("find_projects", project_id=project))["project"]["docs"] == documents[:1]
    await pool.execute("UPDATE archon_projects SET docs = $1", json.dumps(documents))
    answer = await call("find_projects", project_id=project)
    assert [set(document) for document in answer["project"]["docs"]] == [{"id", "title"}] * 2
    assert "find_documents" in answer["note"]
