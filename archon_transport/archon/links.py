"""`link_knowledge`, `unlink_knowledge`, `get_linked_knowledge`: what knowledge a project or a task needs.

A link names its knowledge by an id that is text: pages have UUIDs, chunks and code examples numbers. It
has no foreign key, since knowledge is crawled anew and its ids go on meaning the same for its readers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
from pydantic import Field

from .answers import Described, Failure, Success, invalid, not_found
from .context import Archon, actor, project_address, task_address
from .registry import CHANGES, READS, hints, tool
from .rows import TABLES, exists
from .schemas import Arguments, Id, Name

SourceType = Literal["project", "task", "sprint"]
KnowledgeType = Literal["document", "code_example", "rag_page"]

_LINK = """
    id, source_type, source_id, knowledge_type, knowledge_id::text AS knowledge_id,
    relevance_score::float8 AS relevance_score, created_by, created_at
"""
_ADD = f"""
    INSERT INTO archon_knowledge_links AS link
        (source_type, source_id, knowledge_type, knowledge_id, relevance_score, created_by)
    VALUES ($1, $2, $3, $4, $5::float8, left($6, 100))
    ON CONFLICT (source_type, source_id, knowledge_type, knowledge_id) DO UPDATE
       SET relevance_score = COALESCE(excluded.relevance_score, link.relevance_score)
    RETURNING {_LINK}
"""
_REMOVE = f"DELETE FROM archon_knowledge_links WHERE id = $1 RETURNING {_LINK}"

_FIND = f"""
    SELECT {_LINK}, count(*) OVER () AS total FROM archon_knowledge_links
     WHERE {{condition}} ORDER BY relevance_score DESC NULLS LAST, created_at, id LIMIT 100
"""
_OF_SOURCE = _FIND.format(condition="source_type = $1 AND source_id = $2::text::uuid")
_OF_KNOWLEDGE = _FIND.format(condition="knowledge_type = $1 AND knowledge_id::text = $2")


class Link(Described):
    """One link."""

    id: UUID
    source_type: str
    source_id: UUID
    knowledge_type: str
    knowledge_id: str
    relevance_score: float | None
    created_by: str | None
    created_at: datetime | None


class LinkKnowledge(Arguments):
    """The arguments of `link_knowledge`."""

    source_type: SourceType
    """project or task; sprints are not kept here."""
    source_id: Id
    """UUID of the project or task."""
    knowledge_type: KnowledgeType
    """What is linked to it."""
    knowledge_id: Name
    """Id of the document, code example or page."""
    relevance_score: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    """How much it matters, from 0 to 1."""


class Linked(Success):
    """A link that was made, or was there."""

    link: Link
    link_id: UUID
    message: str


async def link_knowledge(archon: Archon, given: LinkKnowledge) -> Linked | Failure:
    """Links a piece of the knowledge base (a document, code example or page) to a project or task. Linking
    twice leaves one link, with the newer score.
    """
    if given.source_type == "sprint":
        return invalid("source_type: this server keeps no sprints; link the project or the task instead.")
    if not await exists(archon.pool, given.source_type, given.source_id):
        return not_found(given.source_type, given.source_id)
    key = given.source_type, given.source_id, given.knowledge_type, given.knowledge_id
    try:
        (row,) = await archon.pool.fetch(_ADD, *key, given.relevance_score, actor())
    except asyncpg.DataError:
        return invalid("knowledge_id: must be a UUID in this database, where an older Archon made it one.")
    return await _told(archon, row, "Knowledge linked.")


async def _told(archon: Archon, row: asyncpg.Record, message: str) -> Linked:
    link = Link(**row)
    address = {"project": project_address, "task": task_address}.get(link.source_type)
    if address is not None:
        await archon.changed([address(link.source_id)])
    return Linked(link=link, link_id=link.id, message=message)


class UnlinkKnowledge(Arguments):
    """The arguments of `unlink_knowledge`."""

    link_id: Id
    """UUID of the link; get_linked_knowledge has it."""


async def unlink_knowledge(archon: Archon, given: UnlinkKnowledge) -> Linked | Failure:
    """Takes a link away. The answer has its values, with which it can be made again."""
    rows = await archon.pool.fetch(_REMOVE, given.link_id)
    if not rows:
        return not_found("link", given.link_id)
    return await _told(archon, rows[0], "Knowledge unlinked; link_knowledge with these values undoes it.")


class GetLinkedKnowledge(Arguments):
    """The arguments of `get_linked_knowledge`."""

    source_type: SourceType | None = None
    """With source_id: whose knowledge."""
    source_id: Id | None = None
    """UUID of the project or task."""
    knowledge_type: KnowledgeType | None = None
    """With knowledge_id, in place of the two above: who is linked to it."""
    knowledge_id: Name | None = None
    """Id of the document, code example or page."""


class LinkedKnowledge(Success):
    """Links, the most relevant first."""

    links: list[Link]
    """At most 100."""
    count: int
    """Links in this answer."""
    total: int
    """Links that there are."""


async def get_linked_knowledge(archon: Archon, given: GetLinkedKnowledge) -> LinkedKnowledge | Failure:
    """Lists what is linked to a project or task, the most relevant first; or, asked with `knowledge_type` and
    `knowledge_id`, the projects and tasks that are linked to it.
    """
    source, knowledge = (given.source_type, given.source_id), (given.knowledge_type, given.knowledge_id)
    if None in source and None in knowledge:
        return invalid("Give source_type and source_id, or knowledge_type and knowledge_id.")
    if given.source_type is not None and given.source_id is not None:
        if given.source_type in TABLES and not await exists(archon.pool, given.source_type, given.source_id):
            return not_found(given.source_type, given.source_id)
        rows = await archon.pool.fetch(_OF_SOURCE, given.source_type, str(given.source_id))
    else:
        rows = await archon.pool.fetch(_OF_KNOWLEDGE, *knowledge)
    links = [Link(**row) for row in rows]
    return LinkedKnowledge(links=links, count=len(links), total=rows[0]["total"] if rows else 0)


TOOLS = (
    tool(link_knowledge, "Link knowledge", hints(again=True)),
    tool(unlink_knowledge, "Unlink knowledge", CHANGES),
    tool(get_linked_knowledge, "Get linked knowledge", READS),
)
