"""MCP over Streamable HTTP with sessions that outlive the server."""

__version__ = "0.1.0"
