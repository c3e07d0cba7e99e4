"""What a human or a monitor sees."""

from .health import Health

__all__ = ["Health"]
