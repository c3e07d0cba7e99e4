"""What people ask of the tables: read-only SQL behind the page, the REST API and the commands."""

from .activity import FAILED, Activity
from .usage import Usage

__all__ = ["FAILED", "Reports"]


class Reports(Activity, Usage):
    """Every question at once, on a pool whose connections have our schema in their search path."""
