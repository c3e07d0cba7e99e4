"""`find_projects` and `manage_project`: Archon's projects.

A project holds documents, features and data as JSONB columns that can be megabytes; a list shows a
document without its content, and leaves out a column that is too big even for that. Archiving hides a
project and its tasks; unarchiving brings back exactly the tasks that went with it.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal, Self, assert_never
from uuid import UUID

import asyncpg
from pydantic import BaseModel, Field

from .answers import Done, Failure, JsonList, Success, as_list, conflict, invalid, not_found, shorten
from .context import Archon
from .listing import Listing, Page, Where, fetch_page
from .registry import CHANGES, READS, Tool
from .schemas import Arguments, Id, LongText, Name, Text

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
    CASE WHEN pg_column_size(COALESCE(docs, '[]')) <= 16384 THEN COALESCE(docs, '[]')::text END AS docs,
    CASE WHEN pg_column_size(COALESCE(features, '[]')) <= 4096 THEN COALESCE(features, '[]')::text END
        AS features,
    CASE WHEN pg_column_size(COALESCE(data, '[]')) <= 4096 THEN COALESCE(data, '[]')::text END AS data
"""

_FIND_ONE = f"SELECT {_WHOLE} FROM archon_projects WHERE id = $1"

_CREATE = f"""
    INSERT INTO archon_projects (title, description, github_repo) VALUES ($1, $2, $3) RETURNING {_LISTED}
"""

_UPDATE = f"""
    UPDATE archon_projects SET title = COALESCE($2, title), description = COALESCE($3, description),
           github_repo = COALESCE($4, github_repo), updated_at = now()
     WHERE id = $1 RETURNING {_LISTED}
"""

_DELETE = "DELETE FROM archon_projects WHERE id = $1 RETURNING title"

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

_EXISTS = "SELECT EXISTS (SELECT FROM archon_projects WHERE id = $1)"


class Source(BaseModel):
    """A knowledge source that a project is linked to."""

    source_id: str
    title: str | None = Field(description="Null where the source is not in the knowledge base.")
    url: str | None


class Project(BaseModel):
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

    features_count: int | None = Field(description="How many features it has; null where they are left out.")
    omitted: list[str] = Field(
        description="Keys left empty here because they are too big; find_projects with project_id shows them."
    )

    @classmethod
    def _values(cls, row: asyncpg.Record) -> dict[str, Any]:
        values = super()._values(row)
        omitted = [key for key in ("docs", "features", "data") if values[key] is None]
        docs, features = as_list(values["docs"]), as_list(values["features"])
        return {
            **values,
            "description": shorten(values["description"]),
            "docs": [_without_content(document) for document in docs],
            "features": features[:3],
            "features_count": None if "features" in omitted else len(features),
            "omitted": omitted,
        }


def _without_content(document: Any) -> Any:
    return {k: v for k, v in document.items() if k != "content"} if isinstance(document, dict) else document


class FindProjects(Listing):
    """The arguments of `find_projects`."""

    project_id: Id | None = Field(None, description="UUID of the one project to show whole.")
    include_archived: bool = Field(False, description="Whether the list has archived projects too.")


class FoundProject(Success):
    """One project."""

    project: Project


class FoundProjects(Page):
    """A page of projects."""

    projects: list[ProjectItem]
    total: int = Field(description="Projects on all pages.")


async def find_projects(archon: Archon, arguments: FindProjects) -> Success | Failure:
    """One project by its id, or a page of them, the newest first."""
    if arguments.project_id is not None:
        row = await archon.pool.fetchrow(_FIND_ONE, arguments.project_id)
        if row is None:
            return not_found("project", arguments.project_id)
        return FoundProject(project=Project.from_row(row))
    where = Where()
    where.add_words("title, description", arguments.query)
    if not arguments.include_archived:
        where.conditions.append("archived IS NOT TRUE")
    rows, total = await fetch_page(
        archon.pool, _LISTED, "archon_projects", where, "created_at DESC, id", arguments
    )
    return FoundProjects(
        projects=[ProjectItem.from_row(row) for row in rows],
        total=total,
        **arguments.place(count=len(rows), total=total),
    )


class ManageProject(Arguments):
    """The arguments of `manage_project`."""

    may_be_empty = frozenset({"description", "github_repo"})

    action: Literal["create", "update", "delete", "archive", "unarchive"] = Field(
        description=(
            "create (needs title); update (needs project_id and a field to change); delete (for good, with "
            "its tasks); archive (hides it and its tasks); unarchive."
        )
    )
    project_id: Id | None = Field(None, description="UUID of the project; for every action but create.")
    title: Name | None = Field(None, description="Title of the project.")
    description: LongText | None = Field(None, description="What the project is about.")
    github_repo: Text | None = Field(None, description="Address of its repository.")
    archived_by: Name = Field("User", description="Who archives it; for archive only.")


class ProjectChanged(Success):
    """A project after create or update."""

    project: ProjectItem
    project_id: UUID
    message: str


class ProjectArchived(Success):
    """What archive answers."""

    project_id: UUID
    message: str
    tasks_archived: int = Field(description="Tasks that were archived with it.")


class ProjectUnarchived(Success):
    """What unarchive answers."""

    project_id: UUID
    message: str
    tasks_unarchived: int = Field(description="Tasks that came back with it.")


async def manage_project(archon: Archon, arguments: ManageProject) -> Success | Failure:
    """Create, change, archive, unarchive or delete a project."""
    if arguments.action == "create":
        return await _create(archon.pool, arguments)
    if arguments.project_id is None:
        return invalid(f"project_id: is required for {arguments.action}.")
    match arguments.action:
        case "update":
            return await _update(archon.pool, arguments.project_id, arguments)
        case "delete":
            return await _delete(archon.pool, arguments.project_id)
        case "archive":
            return await _archive(archon.pool, arguments.project_id, arguments.archived_by)
        case "unarchive":
            return await _unarchive(archon.pool, arguments.project_id)
        case _:
            assert_never(arguments.action)


async def _create(pool: asyncpg.Pool, given: ManageProject) -> Success | Failure:
    if given.title is None:
        return invalid("title: is required for create.")
    (row,) = await pool.fetch(_CREATE, given.title, given.description or "", given.github_repo)
    return _changed(row, "created")


async def _update(pool: asyncpg.Pool, project_id: UUID, given: ManageProject) -> Success | Failure:
    fields = (given.title, given.description, given.github_repo)
    if all(value is None for value in fields):
        return invalid("Nothing to change: give title, description or github_repo.")
    row = await pool.fetchrow(_UPDATE, project_id, *fields)
    return not_found("project", project_id) if row is None else _changed(row, "updated")


def _changed(row: asyncpg.Record, done: str) -> ProjectChanged:
    project = ProjectItem.from_row(row)
    return ProjectChanged(project=project, project_id=project.id, message=f"Project {done}.")


async def _delete(pool: asyncpg.Pool, project_id: UUID) -> Success | Failure:
    if await pool.fetchrow(_DELETE, project_id) is None:
        return not_found("project", project_id)
    return Done(message="Project deleted, with its tasks and documents.")


async def _archive(pool: asyncpg.Pool, project_id: UUID, archived_by: str) -> Success | Failure:
    tasks = await pool.fetchval(_ARCHIVE, project_id, archived_by)
    if tasks is None:
        return await _missing_or(pool, project_id, "The project is archived already.")
    message = f"Project archived, with {tasks} of its tasks."
    return ProjectArchived(project_id=project_id, message=message, tasks_archived=tasks)


async def _unarchive(pool: asyncpg.Pool, project_id: UUID) -> Success | Failure:
    tasks = await pool.fetchval(_UNARCHIVE, project_id)
    if tasks is None:
        return await _missing_or(pool, project_id, "The project is not archived.")
    message = f"Project unarchived, with the {tasks} tasks that were archived with it."
    return ProjectUnarchived(project_id=project_id, message=message, tasks_unarchived=tasks)


async def _missing_or(pool: asyncpg.Pool, project_id: UUID, reason: str) -> Failure:
    exists = await pool.fetchval(_EXISTS, project_id)
    return conflict(reason) if exists else not_found("project", project_id)


TOOLS = (
    Tool(
        name="find_projects",
        title="Find projects",
        description=(
            "Lists projects, the newest first, or shows one whole when `project_id` is given. A list shows "
            "documents without their content and descriptions cut to 1000 characters."
        ),
        arguments=FindProjects,
        answers=(FoundProject, FoundProjects),
        annotations=READS,
        handler=find_projects,
        replaces={
            "list_projects": "find_projects()",
            "get_project": 'find_projects(project_id="...")',
        },
    ),
    Tool(
        name="manage_project",
        title="Manage a project",
        description=(
            "Creates, updates, deletes, archives or unarchives a project. Deleting is for good and takes the "
            "project's tasks and documents with it; archiving hides them and can be undone."
        ),
        arguments=ManageProject,
        answers=(ProjectChanged, Done, ProjectArchived, ProjectUnarchived),
        annotations=CHANGES,
        handler=manage_project,
        replaces={
            "create_project": 'manage_project(action="create", title="...")',
            "update_project": 'manage_project(action="update", project_id="...", ...)',
            "delete_project": 'manage_project(action="delete", project_id="...")',
        },
    ),
)
