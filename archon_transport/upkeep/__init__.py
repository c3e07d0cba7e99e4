"""What looks after the whole house: the sweep of idle sessions, repair after dead processes, retention."""

from .incarnations import Incarnations
from .retention import Kept, Retention
from .sweep import Sweep

__all__ = ["Incarnations", "Kept", "Retention", "Sweep"]
