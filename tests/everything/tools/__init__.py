"""All tools in the order in which they are listed: the conformance suite calls the first without arguments."""

from ..toolbox import Toolbox
from .contents import box as contents
from .own import box as own
from .questions import box as questions
from .rounds import box as rounds
from .words import box as words

TOOLS = Toolbox(contents | words | questions | rounds | own)

__all__ = ["TOOLS"]
