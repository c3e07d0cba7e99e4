"""What a human or a monitor sees."""

from .discovery import Discovery
from .docs import Docs
from .health import Health
from .metrics import Metrics
from .ports import House
from .site import attach

__all__ = ["Discovery", "Docs", "Health", "House", "Metrics", "attach"]
