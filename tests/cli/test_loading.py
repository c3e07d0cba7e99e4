"""`MODULE:NAME`: what is taken for a server, what is not, and what a person is told."""

import sys
import textwrap

import pytest
from mcp.server import Server

from archon_transport.cli.loading import LoadError, load
from tests.needs import needs_module

SERVERS = """
    from mcp.server import MCPServer, Server
    from mcp.server.auth.settings import AuthSettings

    low = Server("low")
    high = MCPServer("high")
    number = 7

    class Shelf:
        inner = MCPServer("inner")

    class Verifier:
        async def verify_token(self, token):
            return None

    auth = AuthSettings(
        issuer_url="https://a.example", resource_server_url="https://b.example", validate_token_resource=False
    )
    closed = MCPServer("closed", auth=auth, token_verifier=Verifier())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current directory with modules of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("loading_test")]:
        del sys.modules[name]


def write(folder, source, name="loading_test_servers"):
    (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return name


@pytest.mark.parametrize(
    ("name", "server"), [("low", "low"), ("high", "high"), ("Shelf.inner", "inner")], ids=str
)
def test_either_server_of_the_sdk_is_found(folder, name, server):
    """In a module of the current directory, by its name or by a path of names."""
    found = load(f"{write(folder, SERVERS)}:{name}")
    assert isinstance(found, Server)
    assert found.name == server


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("nowhere", "'nowhere' does not name a server; write package.module:name"),
        (":x", "':x' does not name a server; write package.module:name"),
        ("loading_test_none:x", "there is no module loading_test_none here or among what is installed"),
        ("loading_test_servers.inside:x", "there is no module loading_test_servers.inside here"),
        ("loading_test_servers:none", "module loading_test_servers has no none"),
        ("loading_test_servers:number", "loading_test_servers:number is a int, not an MCP server"),
        ("loading_test_servers:closed", "was made with auth of its own, which is not asked for here"),
    ],
)
def test_what_is_no_server_is_told_in_one_line(folder, target, complaint):
    """What was looked for and what is wrong with it."""
    write(folder, SERVERS)
    with pytest.raises(LoadError) as told:
        load(target)
    assert complaint in str(told.value)
    assert "\n" not in str(told.value)


def test_an_error_inside_the_module_is_its_own(folder):
    """A module that needs another one which is missing is not called missing itself."""
    write(folder, "import loading_test_missing")
    with pytest.raises(ModuleNotFoundError, match="loading_test_missing"):
        load("loading_test_servers:x")


def test_fastmcp_keeps_its_server_where_we_read_it(folder):
    """The contract with a private name of another library: when it is gone, that is said."""
    needs_module("fastmcp", "pip install fastmcp")
    source = """
        import fastmcp
        server = fastmcp.FastMCP("fast")
        other = fastmcp.FastMCP("other")
        del other._mcp_server
    """
    write(folder, source)
    found = load("loading_test_servers:server")
    assert (isinstance(found, Server), found.name) == (True, "fast")
    with pytest.raises(LoadError, match=r"fastmcp [\d.]+ keeps its server elsewhere"):
        load("loading_test_servers:other")
