"""What looks after the whole house: the sweep of idle sessions, and the repair after dead processes."""

from .incarnations import Incarnations
from .sweep import Sweep

__all__ = ["Incarnations", "Sweep"]
