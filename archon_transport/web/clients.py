"""What to put where, so that a client knows this server: for the page and for `print-config`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

TOKEN: Final = "$ARCHON_TOKEN"  # noqa: S105 - the name of a variable
"""What stands for the token: a variable of the client's environment, in each client's own spelling."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """`text` goes into the file, or is the command, that `place` names."""

    client: str
    title: str
    place: str
    text: str


def _claude(url: str, token: bool) -> str:
    header = f' --header "Authorization: Bearer {TOKEN}"' if token else ""
    return f"claude mcp add --transport http archon {url}{header}"


def _codex(url: str, token: bool) -> str:
    variable = f'\nbearer_token_env_var = "{TOKEN[1:]}"' if token else ""
    return f"[mcp_servers.archon]\nurl = {json.dumps(url)}{variable}"


def _json(key: str, shown_token: str, root: str = "mcpServers", **more: str) -> Callable[[str, bool], str]:
    def text(url: str, token: bool) -> str:
        server: dict[str, Any] = {**more, key: url}
        if token:
            server["headers"] = {"Authorization": f"Bearer {shown_token}"}
        return json.dumps({root: {"archon": server}}, indent=2)

    return text


_CLIENTS: Final[dict[str, tuple[str, str, Callable[[str, bool], str]]]] = {
    "claude-code": ("Claude Code", "in a terminal", _claude),
    "codex": ("Codex", "~/.codex/config.toml", _codex),
    "gemini": ("Gemini CLI", "~/.gemini/settings.json", _json("httpUrl", TOKEN)),
    "vscode": ("VS Code", ".vscode/mcp.json", _json("url", "${env:ARCHON_TOKEN}", "servers", type="http")),
    "cursor": ("Cursor", "~/.cursor/mcp.json", _json("url", "${env:ARCHON_TOKEN}")),
    "windsurf": (
        "Windsurf",
        "~/.codeium/windsurf/mcp_config.json",
        _json("serverUrl", "${env:ARCHON_TOKEN}"),
    ),
    "cline": ("Cline", "cline_mcp_settings.json", _json("url", "YOUR_ARCHON_TOKEN", type="streamableHttp")),
    "kiro": ("Kiro", "~/.kiro/settings/mcp.json", _json("url", "${ARCHON_TOKEN}")),
}

CLIENTS: Final = tuple(_CLIENTS)


def configuration(client: str, url: str, *, token: bool = False) -> Configuration:
    """What makes `client` use the server at `url`; `token` where it has to log in."""
    title, place, text = _CLIENTS[client]
    return Configuration(client, title, place, text(url, token))
