"""aiohttp in front of the SDK: the endpoint, the seam, running calls, streams and their viewers, guards."""

from .calls import Calls
from .channels import Standing, Wires
from .dispatch import Dispatch
from .endpoint import Endpoint
from .exchanges import STREAM_AFTER, Patience
from .guards import Guards
from .kernel import Kernel
from .listening import Listening, lost_call
from .questions import Questions
from .request_state import KeyRing
from .standing import StoreBus
from .streams import Streams
from .viewers import Viewers

__all__ = [
    "STREAM_AFTER",
    "Calls",
    "Dispatch",
    "Endpoint",
    "Guards",
    "Kernel",
    "KeyRing",
    "Listening",
    "Patience",
    "Questions",
    "Standing",
    "StoreBus",
    "Streams",
    "Viewers",
    "Wires",
    "lost_call",
]
