"""`find_documents` and `manage_document`: the documents of Archon's projects.

Documents are one JSONB array in their project's row, where Archon has them. Whoever changes one locks
that row, keeps the array as a version and then writes only the one document in place: what other agents
changed meanwhile stays, and so do keys that only Archon knows.
"""

from __future__ import annotations

import re
import uuid
from functools import partial
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import asyncpg
from pydantic import AfterValidator, StringConstraints

from . import trash
from .answers import Described, Done, Failure, JsonList, Success, conflict, not_found
from .budget import as_json
from .content import CONTENT_LIMIT, JsonObject, Kind, Reading, Shown, shown
from .context import Archon, Connection, actor, document_address, project_address
from .idempotency import Repeatable, once
from .listing import Listing, Lists, Page, Where
from .registry import CHANGES, READS, tool
from .rows import DOCS, DOCUMENTS, exists, lock
from .schemas import Id, Name, Names, Text, storable
from .versions import keep

# content_type as content.plain_text sees it.
_LISTED = """
    doc ->> 'id' AS id, doc ->> 'document_type' AS document_type, doc ->> 'title' AS title,
    doc ->> 'status' AS status, doc ->> 'version' AS version, (doc -> 'tags')::text AS tags,
    doc ->> 'author' AS author, doc ->> 'created_at' AS created_at, doc ->> 'updated_at' AS updated_at,
    CASE WHEN jsonb_typeof(doc -> 'content') = 'string' THEN 'text'
         WHEN jsonb_typeof(doc -> 'content' -> 'markdown') = 'string'
              AND (doc -> 'content') - 'markdown' = '{}' THEN 'markdown'
         WHEN jsonb_typeof(doc -> 'content' -> 'text') = 'string'
              AND (doc -> 'content') - 'text' = '{}' THEN 'text'
         ELSE 'json' END AS content_type,
    COALESCE(length(doc ->> 'content'), 0) AS content_size
"""
_SEARCHED = """
    doc ->> 'title', doc ->> 'document_type', doc ->> 'tags', doc -> 'content' ->> 'markdown',
    doc -> 'content' ->> 'text', doc ->> 'content'
"""
_DOCUMENTS = Lists(_LISTED, DOCUMENTS, "place")
FIND_ONE = f"""
    SELECT {_LISTED}, place, (doc -> 'content')::text AS content, doc::text AS whole
      FROM {DOCUMENTS} WHERE archon_projects.id = $1 AND doc ->> 'id' = $2 ORDER BY place LIMIT 1
"""
"""One document of a project by its id."""

_ADD = f"UPDATE archon_projects SET docs = {DOCS} || $2::text::jsonb, updated_at = now() WHERE id = $1"
_CHANGE = f"""
    UPDATE archon_projects
       SET docs = jsonb_set({DOCS}, ARRAY[($2::int)::text], ({DOCS} -> $2::int) || $3::text::jsonb),
           updated_at = now()
     WHERE id = $1
"""
_REMOVE = f"UPDATE archon_projects SET docs = {DOCS} - $2::int, updated_at = now() WHERE id = $1"

DocumentText = Annotated[str, StringConstraints(max_length=CONTENT_LIMIT), AfterValidator(storable)]


class DocumentStats(Described):
    """How much there is to a document that a list does not show."""

    content_size: int
    """Characters of its content."""


class DocumentItem(Described):
    """A document without its content."""

    id: str | None
    document_type: str | None
    title: str | None
    status: str | None
    version: str | None
    """Rises with every change made here; see expected_version."""
    tags: JsonList
    author: str | None
    created_at: str | None
    updated_at: str | None
    content_type: Kind
    stats: DocumentStats

    @classmethod
    def from_row(cls, row: asyncpg.Record) -> DocumentItem:
        """From a row of `_LISTED`."""
        return cls(**row, stats=DocumentStats(content_size=row["content_size"]))


class Document(DocumentItem, Shown):
    """A document with its content."""


class FindDocuments(Listing, Reading):
    """The arguments of `find_documents`."""

    item = DocumentItem

    project_id: Id
    """UUID of the project."""
    document_id: Name | None = None
    """The one document to show with its content."""
    document_type: Name | None = None
    """Only documents of this type."""


class FoundDocument(Success):
    """One document."""

    document: Document


class FoundDocuments(Page):
    """A page of documents."""

    documents: list[DocumentItem]
    total: int
    """Documents on all pages."""
    project_id: UUID
    document_type: str | None


async def find_documents(archon: Archon, given: FindDocuments) -> FoundDocument | FoundDocuments | Failure:
    """Lists the documents of a project without their content, or shows one with it when `document_id` is
    given. `query` looks into the contents too. A long content comes in pieces: ask again with `offset` set
    to the piece's `next_offset`.
    """
    if given.document_id is not None:
        row = await archon.pool.fetchrow(FIND_ONE, given.project_id, given.document_id)
        if row is not None:
            item = DocumentItem.from_row(row)
            return FoundDocument(document=Document(**dict(item), **shown(row["content"], given)))
        if await exists(archon.pool, "project", given.project_id):
            return _no_document(given)
        return not_found("project", given.project_id)
    where = Where(["jsonb_typeof(doc) = 'object'"])
    where.add("archon_projects.id = {value}", given.project_id)
    where.add("doc ->> 'document_type' = {value}", given.document_type)
    where.add_words(_SEARCHED, given.query)
    rows, place = await _DOCUMENTS.page(archon.pool, where, given)
    if not place["total"] and not await exists(archon.pool, "project", given.project_id):
        return not_found("project", given.project_id)
    documents = [DocumentItem.from_row(row) for row in rows]
    asked = given.model_dump(include={"project_id", "document_type"})
    return FoundDocuments(documents=documents, **asked, **place)


class ManageDocument(Repeatable):
    """The arguments of `manage_document`."""

    may_be_empty = frozenset({"text"})
    needs: ClassVar = {"create": ("title", "document_type")} | dict.fromkeys(
        ("update", "delete", "undelete"), ("document_id",)
    )
    changeable = ("title", "document_type", "content", "text", "tags", "author")

    action: Literal["create", "update", "delete", "undelete"]
    """create (needs title and document_type); update (needs document_id and a field to change); delete (needs
    document_id); undelete (within 30 days; needs document_id)."""
    project_id: Id
    """UUID of the project."""
    document_id: Name | None = None
    """The document; for every action but create."""
    title: Name | None = None
    """Title of the document."""
    document_type: Name | None = None
    """What it is: spec, design, note, prp, api, guide, or any word of yours."""
    content: JsonObject | None = None
    """The content as a JSON object. Give this or `text`; an update replaces all of it."""
    text: DocumentText | None = None
    """The content as text, markdown unless content_type says otherwise."""
    content_type: Kind | None = None
    """markdown or text goes with `text`, json with `content`; may be left out."""
    tags: Names | None = None
    """Words to sort it by."""
    author: Name | None = None
    """Who wrote it; "User" when not given."""
    expected_version: Text | None = None
    """For update and delete: the `version` of the document that you read. If somebody changed it since,
    nothing is done and the answer says so."""

    def problem(self) -> str | None:
        """What is wrong with the arguments together."""
        if self.text is not None and self.content is not None:
            return "Give content or text, not both."
        partner = "content" if self.content_type == "json" else "text"
        if self.content_type is not None and getattr(self, partner) is None:
            return f"{partner}: is required with content_type {self.content_type}."
        if self.expected_version is not None and self.action not in ("update", "delete"):
            return "expected_version: is only for update and delete."
        return super().problem()


class DocumentChanged(Success):
    """A document after create, update or undelete."""

    document: DocumentItem
    document_id: str
    message: str


async def manage_document(archon: Archon, given: ManageDocument) -> DocumentChanged | Done | Failure:
    """Creates, updates, deletes or undeletes a document of a project. Every update and delete first keeps all
    documents of the project as a version (find_versions). With `expected_version` an update or delete is
    refused when somebody else was faster.
    """
    if given.action == "create":
        answer: DocumentChanged | Done | Failure = await once(
            archon.pool, given, DocumentChanged, partial(_create, archon, given)
        )
    else:
        answer = await _change(archon, given, given.document_id or "")
    if not isinstance(answer, Failure):
        document_id = answer.document_id if isinstance(answer, DocumentChanged) else given.document_id
        addresses = document_address(given.project_id, document_id or ""), project_address(given.project_id)
        await archon.changed(addresses)
    return answer


async def _create(archon: Archon, given: ManageDocument, connection: Connection) -> DocumentChanged | Failure:
    if not await lock(connection, given.project_id):
        return not_found("project", given.project_id)
    document_id, now = str(uuid.uuid4()), archon.now().isoformat()
    defaults = {"id": document_id, "content": {}, "tags": [], "author": "User", "created_at": now}
    fixed = {"status": "draft", "version": "1.0", "updated_at": now}
    document = defaults | _fields(given, given.content_type) | fixed
    await connection.execute(_ADD, given.project_id, as_json(document))
    return await _shown(connection, given.project_id, document_id, "created")


def _no_document(given: FindDocuments | ManageDocument) -> Failure:
    return not_found(f"document in the project {given.project_id}", given.document_id)


async def _change(
    archon: Archon, given: ManageDocument, document_id: str
) -> DocumentChanged | Done | Failure:
    """Everything that is done to a document that is there, or was."""
    async with archon.pool.acquire() as connection, connection.transaction():
        if not await lock(connection, given.project_id):
            return not_found("project", given.project_id)
        row = await connection.fetchrow(FIND_ONE, given.project_id, document_id)
        if given.action == "undelete":
            return await _undelete(connection, given.project_id, document_id, there=row is not None)
        if row is None:
            return _no_document(given)
        if given.expected_version not in (None, row["version"]):
            return conflict(
                f"The document is at version {row['version']}, not {given.expected_version}: somebody "
                "changed it since you read it. Read it again and make your change on what is there now."
            )
        if given.action == "delete":
            return await _delete(connection, given.project_id, row)
        changes = _fields(given, given.content_type or row["content_type"])
        changes |= {"version": _next(row["version"]), "updated_at": archon.now().isoformat()}
        await keep(connection, given.project_id, "docs", "update", _summary("Changing", row), document_id)
        await connection.execute(_CHANGE, given.project_id, row["place"] - 1, as_json(changes))
        return await _shown(connection, given.project_id, document_id, "updated")


async def _delete(connection: Connection, project_id: UUID, row: asyncpg.Record) -> Done:
    await keep(connection, project_id, "docs", "delete", _summary("Deleting", row), row["id"])
    await trash.put_document(connection, project_id, row, actor())
    await connection.execute(_REMOVE, project_id, row["place"] - 1)
    return Done(message="Document deleted; the action undelete brings it back within 30 days.")


async def _undelete(
    connection: Connection, project_id: UUID, document_id: str, *, there: bool
) -> DocumentChanged | Failure:
    if there:
        return conflict("The document is not deleted.")
    document = await trash.take_document(connection, project_id, document_id)
    if document is None:
        return not_found(f"document deleted from the project {project_id} within 30 days", document_id)
    await connection.execute(_ADD, project_id, document)
    return await _shown(connection, project_id, document_id, "brought back")


async def _shown(connection: Connection, project_id: UUID, document_id: str, done: str) -> DocumentChanged:
    (row,) = await connection.fetch(FIND_ONE, project_id, document_id)
    item = DocumentItem.from_row(row)
    return DocumentChanged(document=item, document_id=document_id, message=f"Document {done}.")


def _fields(given: ManageDocument, kind: str | None) -> dict[str, Any]:
    """What the arguments say about a document, by the names that it has there."""
    fields = {name: getattr(given, name) for name in given.changeable if name != "text"}
    if given.text is not None:
        fields["content"] = {"text" if kind == "text" else "markdown": given.text}
    return {name: value for name, value in fields.items() if value is not None}


def _next(version: str | None) -> str:
    """The version after this one: its last number and one, whoever numbered it."""
    numbered = re.fullmatch(r"(?s)(.*?)([0-9]{1,18})", version or "1.0")
    return f"{numbered[1]}{int(numbered[2]) + 1}" if numbered else f"{version}.1"


def _summary(verb: str, row: asyncpg.Record) -> str:
    return f"{verb} {(row['title'] or row['id'])[:100]}"


TOOLS = (
    tool(find_documents, "Find documents", READS),
    tool(manage_document, "Manage a document", CHANGES),
)
