"""aiohttp in front of the SDK: the endpoint, the seam, the running calls, the guards."""

from .calls import Calls
from .endpoint import Endpoint
from .guards import Guards
from .kernel import Kernel

__all__ = ["Calls", "Endpoint", "Guards", "Kernel"]
