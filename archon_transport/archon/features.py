"""`get_project_features`: what a project says of its features; Archon's page is where they are edited."""

from __future__ import annotations

from .answers import Failure, JsonList, Success, not_found
from .context import Archon
from .registry import READS, tool
from .schemas import Arguments, Id

_FEATURES = "SELECT features::text AS features FROM archon_projects WHERE id = $1"


class GetProjectFeatures(Arguments):
    """The arguments of `get_project_features`."""

    project_id: Id
    """UUID of the project."""


class ProjectFeatures(Success):
    """A project's features."""

    features: JsonList
    count: int


async def get_project_features(archon: Archon, given: GetProjectFeatures) -> ProjectFeatures | Failure:
    """Lists the features of a project: free-form objects, most with `name` and `status`. A task's `feature`
    names one of them.
    """
    row = await archon.pool.fetchrow(_FEATURES, given.project_id)
    if row is None:
        return not_found("project", given.project_id)
    answer = ProjectFeatures(features=row["features"], count=0)
    return answer.model_copy(update={"count": len(answer.features)})


TOOLS = (tool(get_project_features, "Get a project's features", READS),)
