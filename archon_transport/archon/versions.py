"""`find_versions` and `manage_version`: what a project's documents, features, data and prd once were.

A version is a whole field of the project as it stood. Documents make one of their own before each change
(`snapshot`); the tools here make and restore them by hand. Numbers are given under the project's row lock
(`lock`), so that no two versions of a field share one.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import ClassVar, Literal
from uuid import UUID

import asyncpg
from pydantic import Field

from .answers import Described, Failure, Success, as_list, invalid, not_found
from .budget import as_json
from .content import JsonItems, Reading, Shown, shown
from .context import Archon, Connection, actor, document_address, project_address
from .idempotency import Repeatable, once
from .listing import Listing, Lists, Page, Where
from .registry import CHANGES, READS, tool
from .rows import AS_ARRAY, DOCS, DOCUMENTS, exists, lock
from .schemas import Id, Name, Text

VersionedField = Literal["docs", "features", "data", "prd"]
ChangeType = Literal["create", "update", "delete", "restore", "backup"]

_ADD = """
    INSERT INTO archon_document_versions
        (project_id, field_name, version_number, content, change_summary, change_type, document_id,
         created_by)
    SELECT id, $2, 1 + COALESCE((SELECT max(version_number) FROM archon_document_versions
                                  WHERE project_id = $1 AND field_name = $2), 0),
           COALESCE($7::text::jsonb, {field}, '[]'::jsonb), $3, $4, $5, $6
      FROM archon_projects WHERE id = $1
    RETURNING version_number
"""

_PLAIN = """
    id, project_id, field_name, version_number, change_summary, change_type, document_id, created_by,
    created_at
"""
_FIND = f"""
    SELECT {_PLAIN}, content::text AS content FROM archon_document_versions
     WHERE project_id = $1 AND field_name = $2 AND version_number = $3 ORDER BY created_at DESC LIMIT 1
"""
_VERSIONS = Lists(_PLAIN, "archon_document_versions", "version_number DESC, field_name, created_at DESC, id")

_RESTORE_FIELD = "UPDATE archon_projects SET {field} = $2::text::jsonb, updated_at = now() WHERE id = $1"

_RESTORE_DOCUMENT = f"""
    WITH kept AS (
        SELECT doc FROM archon_document_versions, jsonb_array_elements({AS_ARRAY.format("content")}) AS doc
         WHERE archon_document_versions.id = $2 AND doc ->> 'id' = $3 LIMIT 1
    ), place AS (
        SELECT place - 1 AS place
          FROM {DOCUMENTS}
         WHERE id = $1 AND item.doc ->> 'id' = $3 ORDER BY 1 LIMIT 1
    )
    UPDATE archon_projects
       SET docs = CASE WHEN EXISTS (SELECT FROM place)
                       THEN jsonb_set({DOCS}, ARRAY[(SELECT place::text FROM place)], kept.doc)
                       ELSE {DOCS} || kept.doc END,
           updated_at = now()
      FROM kept WHERE id = $1 RETURNING archon_projects.id
"""

# The documents that a restore changes, brings or takes away.
_DIFFERENT = f"""
    SELECT id FROM (
        SELECT doc, doc ->> 'id' AS id FROM {DOCUMENTS}
         WHERE archon_projects.id = $1
    ) AS present FULL JOIN (
        SELECT doc, doc ->> 'id' AS id
          FROM archon_document_versions, jsonb_array_elements({AS_ARRAY.format("content")}) AS doc
         WHERE archon_document_versions.id = $2
    ) AS kept USING (id)
     WHERE present.doc IS DISTINCT FROM kept.doc AND id IS NOT NULL AND ($3::text IS NULL OR id = $3)
"""


async def keep(
    connection: Connection,
    project_id: UUID,
    field: VersionedField,
    change_type: ChangeType,
    summary: str | None,
    document_id: str | None = None,
    *,
    created_by: str | None = None,
    content: str | None = None,
) -> int:
    """Keep a field as a version, as it is now or with other content, under the project's lock; its number."""
    made_by = created_by or actor()
    values = project_id, field, summary, change_type, document_id, made_by, content
    number: int = await connection.fetchval(_ADD.format(field=field), *values)
    return number


class Version(Described):
    """A version without its content."""

    id: UUID
    project_id: UUID
    field_name: str
    version_number: int
    change_summary: str | None
    change_type: str | None
    """create, update, delete, restore or backup."""
    document_id: str | None
    """The one document that the change was about."""
    created_by: str | None
    created_at: datetime | None


class WholeVersion(Shown):
    """One version with its content: the field as it stood."""

    version: Version
    field_name: str
    version_number: int


class FindVersions(Listing, Reading):
    """The arguments of `find_versions`."""

    item = Version

    project_id: Id
    """UUID of the project."""
    field_name: VersionedField | None = None
    """Only versions of this field."""
    version_number: int | None = Field(None, ge=1, le=2**31 - 1)
    """The one version to show with its content; needs field_name."""
    document_id: Name | None = None
    """Only versions made by changes of this document."""


class FoundVersion(Success):
    """One version."""

    version: WholeVersion


class FoundVersions(Page):
    """A page of versions."""

    versions: list[Version]
    total: int
    """Versions on all pages."""
    project_id: UUID
    field_name: str | None


async def find_versions(archon: Archon, given: FindVersions) -> FoundVersion | FoundVersions | Failure:
    """Lists the versions of a project's docs, features, data or prd, the newest first, without their content;
    `field_name` and `version_number` together show one with it. Every change of a document keeps the
    documents as they were before it.
    """
    if given.version_number is not None:
        return await _one(archon, given)
    where = Where()
    where.add("project_id = {value}", given.project_id)
    where.add("field_name = {value}", given.field_name)
    where.add("document_id = {value}", given.document_id)
    where.add_words("field_name, change_summary, change_type, created_by", given.query)
    rows, place = await _VERSIONS.page(archon.pool, where, given)
    if not place["total"] and not await exists(archon.pool, "project", given.project_id):
        return not_found("project", given.project_id)
    asked = given.model_dump(include={"project_id", "field_name"})
    return FoundVersions(versions=[Version(**row) for row in rows], **asked, **place)


async def _one(archon: Archon, given: FindVersions) -> FoundVersion | Failure:
    if given.field_name is None:
        return invalid("field_name: is required with version_number.")
    row = await archon.pool.fetchrow(_FIND, given.project_id, given.field_name, given.version_number)
    if row is None:
        return _no_version(given)
    about = {name: row[name] for name in ("field_name", "version_number")}
    return FoundVersion(version=WholeVersion(version=Version(**row), **about, **shown(row["content"], given)))


def _no_version(given: FindVersions | ManageVersion) -> Failure:
    return not_found(f"version of {given.field_name} in this project", given.version_number)


class ManageVersion(Repeatable):
    """The arguments of `manage_version`."""

    needs: ClassVar = {"create": ("content",), "restore": ("version_number",)}

    action: Literal["create", "restore"]
    """create (keeps `content` as a version of the field; the field itself stays as it is); restore (needs
    version_number: the field becomes what that version holds)."""
    project_id: Id
    """UUID of the project."""
    field_name: VersionedField
    """Which field of the project."""
    version_number: int | None = Field(None, ge=1, le=2**31 - 1)
    """The version to restore; find_versions lists them."""
    content: JsonItems | None = None
    """For create: the items of the field; one object alone is kept as an object."""
    change_summary: Text | None = None
    """What the version is, in a line."""
    document_id: Name | None = None
    """For create, the document that the version is about; for restore of docs, the one document to restore:
    all others stay as they are."""
    created_by: Name | None = None
    """Who makes it; the caller when not given."""

    def problem(self) -> str | None:
        """What is wrong with the arguments together."""
        if self.action == "restore" and self.document_id is not None and self.field_name != "docs":
            return "document_id: is only for the field docs."
        return super().problem()


class VersionChanged(Success):
    """What create and restore answer."""

    message: str
    field_name: str
    version_number: int
    """The version that was made, or the one that was restored."""
    backup_version: int | None = None
    """After a restore: the version that has what the field held before."""


async def manage_version(archon: Archon, given: ManageVersion) -> VersionChanged | Failure:
    """Keeps a version of a project's docs, features, data or prd, or restores one. Restoring first keeps what
    is there (`backup_version`), so that it can be undone in the same way; with `document_id` only that
    document is brought back.
    """
    if given.action == "create":
        return await once(archon.pool, given, VersionChanged, partial(_create, given))
    changed: list[str] = []
    async with archon.pool.acquire() as connection, connection.transaction():
        if not await lock(connection, given.project_id):
            return not_found("project", given.project_id)
        row = await connection.fetchrow(_FIND, given.project_id, given.field_name, given.version_number)
        if row is None:
            return _no_version(given)
        if given.field_name == "docs":
            found = await connection.fetch(_DIFFERENT, given.project_id, row["id"], given.document_id)
            changed = [document_address(given.project_id, each["id"]) for each in found]
        answer = await _restore(connection, given, row)
    if isinstance(answer, VersionChanged):
        await archon.changed([project_address(given.project_id), *changed])
    return answer


async def _create(given: ManageVersion, connection: Connection) -> VersionChanged | Failure:
    if not await lock(connection, given.project_id):
        return not_found("project", given.project_id)
    about = given.change_summary, given.document_id
    by, content = given.created_by, as_json(given.content)
    number = await keep(
        connection, given.project_id, given.field_name, "create", *about, created_by=by, content=content
    )
    message = f"Version {number} of {given.field_name} created."
    return VersionChanged(message=message, field_name=given.field_name, version_number=number)


async def _restore(
    connection: Connection, given: ManageVersion, row: asyncpg.Record
) -> VersionChanged | Failure:
    field, number, document_id = given.field_name, row["version_number"], given.document_id
    kept = [each.get("id") for each in as_list(row["content"]) if isinstance(each, dict)]
    if document_id is not None and document_id not in kept:
        return not_found(f"document in version {number}", document_id)
    by, before = given.created_by, f"Before version {number} was restored"
    backup = await keep(connection, given.project_id, field, "backup", before, document_id, created_by=by)
    if document_id is None:
        await connection.execute(_RESTORE_FIELD.format(field=field), given.project_id, row["content"])
    else:
        await connection.execute(_RESTORE_DOCUMENT, given.project_id, row["id"], document_id)
    summary = given.change_summary or f"Version {number} restored"
    await keep(connection, given.project_id, field, "restore", summary, document_id, created_by=by)
    message = f"Version {number} of {field} restored; version {backup} has what was there before."
    return VersionChanged(message=message, field_name=field, version_number=number, backup_version=backup)


TOOLS = (
    tool(find_versions, "Find versions", READS),
    tool(manage_version, "Manage a version", CHANGES),
)
