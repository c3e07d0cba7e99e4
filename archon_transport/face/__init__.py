"""The transport for the applications of others: `StreamableHTTP`, and what it is put together from."""

from .assembly import Transport, assemble, beside
from .servers import low_level
from .streamable import Sessions, StreamableHTTP

__all__ = ["Sessions", "StreamableHTTP", "Transport", "assemble", "beside", "low_level"]
