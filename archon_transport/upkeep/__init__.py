"""What looks after the whole house: the sweep of idle sessions."""

from .sweep import Sweep

__all__ = ["Sweep"]
