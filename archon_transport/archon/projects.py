"""`find_projects` and `manage_project`: Archon's projects.

A project holds documents, features and data as JSONB columns that can be megabytes; a list shows a
document without its content, and leaves out a column that is too big even for that. Archiving hides a
project and its tasks; unarchiving brings back exactly the tasks that went with it. Deleting removes both
from Archon's tables; for 30 days they can be brought back.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Literal, Self, TypeAlias, cast
from uuid import UUID

import asyncpg

from . import trash
from .answers import (
    Described,
    Done,
    Failure,
    JsonList,
    Success,
    as_list,
    conflict,
    not_found,
    shorten,
)
from .budget import CHARACTERS, as_json
from .content import Reading
from .context import Archon, Connection, actor, project_address
from .idempotency import Repeatable, once
from .listing import Alone, Listing, Lists, Page, Where, alone
from .registry import CHANGES, READS, tool
from .rows import exists
from .schemas import Id, LongText, Name, Text

_SOURCES = """
    (SELECT COALESCE(jsonb_agg(jsonb_build_object(
                'source_id', link.source_id, 'title', source.title, 'url', source.source_url,
                'kind', link.notes) ORDER BY link.linked_at, link.source_id), '[]'::jsonb)
       FROM archon_project_sources AS link LEFT JOIN archon_sources AS source USING (source_id)
      WHERE link.project_id = archon_projects.id)::text AS sources
"""

_PLAIN = """
    id, title, description, github_repo, created_at, updated_at, COALESCE(pinned, false) AS pinned,
    COALESCE(archived, false) AS archived, archived_at, archived_by
"""

_WHOLE = f"""
    {_PLAIN}, docs::text AS docs, features::text AS features, data::text AS data, {_SOURCES}
"""

# pg_column_size reads the stored (compressed) size without fetching the value, so that a list over
# projects with megabytes of documents costs nothing; null says "too big for a list".
_LISTED = f"""
    {_PLAIN}, {_SOURCES},
    CASE WHEN pg_column_size(COALESCE(docs, '[]')) <= 8192 THEN COALESCE(docs, '[]')::text END AS docs,
    CASE WHEN pg_column_size(COALESCE(features, '[]')) <= 4096 THEN COALESCE(features, '[]')::text END
        AS features,
    CASE WHEN pg_column_size(COALESCE(data, '[]')) <= 4096 THEN COALESCE(data, '[]')::text END AS data
"""

_PROJECTS = Lists(_LISTED, "archon_projects", "created_at DESC, id")
_FIND_ONE = f"SELECT {_WHOLE} FROM archon_projects WHERE id = $1"

_CREATE = f"""
    INSERT INTO archon_projects (title, description, github_repo, pinned)
    VALUES ($1, COALESCE($2, ''), $3, COALESCE($4, false)) RETURNING {_LISTED}
"""

_UPDATE = f"""
    UPDATE archon_projects SET title = COALESCE($2, title), description = COALESCE($3, description),
           github_repo = COALESCE($4, github_repo), pinned = COALESCE($5, pinned), updated_at = now()
     WHERE id = $1 RETURNING {_LISTED}
"""

# A task that goes with its project carries the project's own archived_at: that is how the two are known
# to belong together when the project comes back. (Archon's own function writes one time too.)
_ARCHIVE = """
    WITH project AS (
        UPDATE archon_projects SET archived = true, archived_at = now(), archived_by = $2, updated_at = now()
         WHERE id = $1 AND archived IS NOT TRUE RETURNING id, archived_at
    ), tasks AS (
        UPDATE archon_tasks SET archived = true, archived_at = project.archived_at, archived_by = $2,
               updated_at = now()
          FROM project WHERE project_id = project.id AND archived IS NOT TRUE RETURNING 1
    )
    SELECT (SELECT count(*) FROM tasks) FROM project
"""

_UNARCHIVE = """
    WITH before AS (
        SELECT id, archived_at FROM archon_projects WHERE id = $1 AND archived FOR UPDATE
    ), project AS (
        UPDATE archon_projects SET archived = false, archived_at = NULL, archived_by = NULL,
               updated_at = now()
          FROM before WHERE archon_projects.id = before.id
    ), tasks AS (
        UPDATE archon_tasks SET archived = false, archived_at = NULL, archived_by = NULL, updated_at = now()
          FROM before
         WHERE project_id = before.id AND archived
           AND archon_tasks.archived_at IS NOT DISTINCT FROM before.archived_at RETURNING 1
    )
    SELECT (SELECT count(*) FROM tasks) FROM before
"""


class Source(Described):
    """A knowledge source that a project is linked to."""

    source_id: str
    title: str | None
    """Null where the source is not in the knowledge base."""
    url: str | None


class Project(Described):
    """A whole project."""

    id: UUID
    title: str
    description: str | None
    github_repo: str | None
    created_at: datetime | None
    updated_at: datetime | None
    pinned: bool
    archived: bool
    archived_at: datetime | None
    archived_by: str | None
    docs: JsonList
    features: JsonList
    data: JsonList
    technical_sources: list[Source]
    business_sources: list[Source]

    @classmethod
    def from_row(cls, row: asyncpg.Record) -> Self:
        """From a row of `_WHOLE`; a `ProjectItem` from one of `_LISTED`."""
        return cls(**cls._values(row))

    @classmethod
    def _values(cls, row: asyncpg.Record) -> dict[str, Any]:
        """A row's values, with its links sorted by their kind; links of another kind are not shown."""
        values = dict(row)
        links = json.loads(values.pop("sources"))
        for kind in ("technical", "business"):
            values[f"{kind}_sources"] = [link for link in links if link["kind"] == kind]
        return values


class ProjectItem(Project):
    """A project in a list: its description cut, the first three features, documents without content."""

    features_count: int | None
    """How many features it has; null where they are left out."""
    omitted: list[str]
    """Keys left empty here because they are too big; find_projects with project_id shows them."""

    @classmethod
    def _values(cls, row: asyncpg.Record) -> dict[str, Any]:
        values = super()._values(row)
        omitted = [key for key in ("docs", "features", "data") if values[key] is None]
        docs, features = as_list(values["docs"]), as_list(values["features"])
        return {
            **values,
            "description": shorten(values["description"]),
            "docs": [without_content(document) for document in docs],
            "features": features[:3],
            "features_count": None if "features" in omitted else len(features),
            "omitted": omitted,
        }


def without_content(document: Any) -> Any:
    """A document, or whatever is among them, as a list shows it."""
    return {k: v for k, v in document.items() if k != "content"} if isinstance(document, dict) else document


class FindProjects(Listing, Reading):
    """The arguments of `find_projects`."""

    item = ProjectItem

    project_id: Id | None = None
    """UUID of the one project to show whole."""
    include_archived: bool = False
    """Whether the list has archived projects too."""


class FoundProject(Alone):
    """One project; its documents are without content where that would be too much for one answer."""

    project: Project

    def content(self) -> dict[str, Any]:
        """The answer, with the documents' content as far as there is room for all of it."""
        content = super().content()
        if len(as_json(content)) > CHARACTERS:
            content["project"]["docs"] = [without_content(each) for each in content["project"]["docs"]]
            content["note"] = "The documents are shown without content here; find_documents has it."
        return content


class FoundProjects(Page):
    """A page of projects."""

    projects: list[ProjectItem]
    total: int
    """Projects on all pages."""


async def find_projects(archon: Archon, given: FindProjects) -> FoundProject | FoundProjects | Failure:
    """Lists projects, the newest first, or shows one whole when `project_id` is given. A list shows documents
    without their content and descriptions cut to 1000 characters.
    """
    if given.project_id is not None:
        project = await find_project(archon, given.project_id)
        if project is None:
            return not_found("project", given.project_id)
        return FoundProject(**alone(project, given), project=project)
    where = Where([] if given.include_archived else ["archived IS NOT TRUE"])
    where.add_words("title, description", given.query)
    rows, place = await _PROJECTS.page(archon.pool, where, given)
    return FoundProjects(projects=[ProjectItem.from_row(row) for row in rows], **place)


async def find_project(archon: Archon, project_id: UUID) -> Project | None:
    """A whole project by its id."""
    row = await archon.pool.fetchrow(_FIND_ONE, project_id)
    return Project.from_row(row) if row else None


class ManageProject(Repeatable):
    """The arguments of `manage_project`."""

    may_be_empty = frozenset({"description", "github_repo"})
    needs: ClassVar = {"create": ("title",)} | dict.fromkeys(
        ("update", "delete", "undelete", "archive", "unarchive"), ("project_id",)
    )
    changeable = ("title", "description", "github_repo", "pinned")

    action: Literal["create", "update", "delete", "undelete", "archive", "unarchive"]
    """create (needs title); update (needs project_id and a field to change); delete (with its tasks and
    documents); undelete (brings all of it back, within 30 days); archive (hides it and its tasks);
    unarchive."""
    project_id: Id | None = None
    """UUID of the project; for every action but create."""
    title: Name | None = None
    """Title of the project."""
    description: LongText | None = None
    """What the project is about."""
    github_repo: Text | None = None
    """Address of its repository."""
    pinned: bool | None = None
    """Whether it is pinned in Archon's pages."""
    archived_by: Name | None = None
    """Who archives it, for archive only; the caller when not given."""


class ProjectChanged(Success):
    """A project after create or update."""

    project: ProjectItem
    project_id: UUID
    message: str


class ProjectArchived(Success):
    """What archive answers."""

    project_id: UUID
    message: str
    tasks_archived: int
    """Tasks that were archived with it."""


class ProjectUnarchived(Success):
    """What unarchive answers."""

    project_id: UUID
    message: str
    tasks_unarchived: int
    """Tasks that came back with it."""


_DELETED = Done(message="Project deleted, with its tasks and documents; undelete brings it back for 30 days.")
_RESTORED = Done(message="Project restored, with its tasks and documents.")
_REFUSED = {
    "undelete": "The project is not deleted.",
    "archive": "The project is archived already.",
    "unarchive": "The project is not archived.",
}

Answer: TypeAlias = ProjectChanged | Done | ProjectArchived | ProjectUnarchived | Failure


async def manage_project(archon: Archon, given: ManageProject) -> Answer:
    """Creates, updates, deletes, archives or unarchives a project. Deleting takes the project's tasks and
    documents with it, undelete brings all of it back for 30 days; archiving only hides them.
    """
    if given.action == "create":
        answer: Answer = await once(archon.pool, given, ProjectChanged, partial(_create, given))
    else:
        async with archon.pool.acquire() as connection, connection.transaction():
            answer = await _change(connection, given, cast(UUID, given.project_id))
    if not isinstance(answer, Failure):
        project_id = answer.project_id if isinstance(answer, ProjectChanged) else given.project_id
        await archon.changed([project_address(project_id)])
    return answer


async def _create(given: ManageProject, connection: Connection) -> ProjectChanged:
    (row,) = await connection.fetch(_CREATE, *_fields(given))
    return _changed(row, "created")


def _changed(row: asyncpg.Record, done: str) -> ProjectChanged:
    project = ProjectItem.from_row(row)
    return ProjectChanged(project=project, project_id=project.id, message=f"Project {done}.")


async def _change(connection: Connection, given: ManageProject, project_id: UUID) -> Answer:
    """Everything that is done to a project that is there, or was."""
    answer: Answer | None
    match given.action:
        case "update":
            row = await connection.fetchrow(_UPDATE, project_id, *_fields(given))
            answer = _changed(row, "updated") if row else None
        case "delete":
            answer = _DELETED if await trash.discard_project(connection, project_id, actor()) else None
        case "undelete":
            answer = _RESTORED if await trash.restore_project(connection, project_id) else None
        case _:
            answer = await _archive(connection, given, project_id)
    if answer is not None:
        return answer
    if given.action in _REFUSED and await exists(connection, "project", project_id):
        return conflict(_REFUSED[given.action])
    return not_found("project", project_id)


async def _archive(connection: Connection, given: ManageProject, project_id: UUID) -> Answer | None:
    if given.action == "archive":
        tasks = await connection.fetchval(_ARCHIVE, project_id, given.archived_by or actor())
        if tasks is None:
            return None
        message = f"Project archived, with {tasks} of its tasks."
        return ProjectArchived(project_id=project_id, message=message, tasks_archived=tasks)
    tasks = await connection.fetchval(_UNARCHIVE, project_id)
    if tasks is None:
        return None
    message = f"Project unarchived, with the {tasks} tasks that were archived with it."
    return ProjectUnarchived(project_id=project_id, message=message, tasks_unarchived=tasks)


def _fields(given: ManageProject) -> tuple[object, ...]:
    return given.title, given.description, given.github_repo, given.pinned


TOOLS = (
    tool(find_projects, "Find projects", READS),
    tool(manage_project, "Manage a project", CHANGES),
)
