"""The shape of the package, held by reading its imports: which room may know which, and how large they get.

`violations` judges one source; the tests run it over the package and over small sources that break one rule
each, so that a rule which no longer catches anything is noticed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "archon_transport"

LAYERS = (
    {"__main__"},
    {"cli"},
    {"app"},
    {"face"},
    {"transport", "archon", "web", "store", "reports", "embedded", "upkeep"},
    {"sessions", "knowledge", "auth"},
    {"protocol"},
)
"""Top to bottom: a room imports from layers below its own, and from no neighbour."""

ROOMS = set().union(*LAYERS)
BESIDE = {
    "settings": {"cli", "app"},
    "process": {"cli", "app"},
    "signals": ROOMS - {"protocol"} | {"process"},
}
"""Rooms outside of the layers, each with those that may import it. They import none of the layers."""

ONLY_IN = {
    "mcp.server.runner": {"transport.kernel"},
    "mcp.server.connection": {"transport.kernel"},
    "mcp.shared.dispatcher": {"transport.kernel"},
    "asyncpg": {"store", "reports", "embedded", "archon", "knowledge"},
    "aiohttp.web": {"transport", "web", "face", "app", "process"},
}
"""Names that only some rooms or modules may import."""

PURE = {"protocol"}
IMPURE = {
    "aiohttp",
    "asyncio",
    "asyncpg",
    "logging",
    "os",
    "random",
    "secrets",
    "socket",
    "threading",
    "time",
}
CLOCKS = {"now", "utcnow", "today"}
SDK = {"mcp", "mcp_types"}
SDK_OF_THE_PURE = ("mcp_types", "mcp.shared.inbound")

CORE = ("protocol", "sessions", "transport", "store")
CORE_LINES, PACKAGE_LINES, MODULE_LINES = 5_000, 16_500, 450


def imports(tree: ast.AST, module: str, package: bool) -> Iterator[tuple[str, str | None]]:
    """Every import as (module, name or None), relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parts = ["archon_transport", *filter(None, module.split("."))]
                base = parts[: len(parts) - node.level + package]
                origin = ".".join([*base, *filter(None, [origin])])
            yield from ((origin, alias.name) for alias in node.names)


def is_in(name: str, names: set[str] | tuple[str, ...]) -> bool:
    """Whether a dotted name is one of `names` or lies inside one."""
    return any(name == each or name.startswith(each + ".") for each in names)


def direction(room: str, target: str) -> str | None:
    """What is wrong with `room` importing the room `target`, if anything is."""
    if room in ("", target):  # the package's face may show anything; a room may know itself
        return None
    if target in BESIDE:
        return None if room in BESIDE[target] else f"{room} may not import {target}"
    if target not in ROOMS:
        return f"{target} is no known room"
    depth = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    if room in depth and depth[room] < depth[target]:
        return None
    return f"{room} may not import {target}"


def violations(source: str, module: str, package: bool = False) -> list[str]:
    """What `source`, as the module of that name below archon_transport, does that its room may not."""
    tree = ast.parse(source)
    room = module.split(".")[0]
    found: list[str | None] = []
    for origin, name in imports(tree, module, package):
        full = origin if name is None else f"{origin}.{name}"
        if origin.split(".")[0] == "archon_transport":
            target = full.split(".")[1] if "." in full else ""
            if full != "archon_transport.__version__":
                found.append(direction(room, target))
            continue
        found += foreign(full, module, room)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found += attribute(node, room)
    return [each for each in found if each]


def foreign(full: str, module: str, room: str) -> Iterator[str]:
    """What is wrong with importing a name from outside of the package."""
    for name, places in ONLY_IN.items():
        if is_in(full, (name,)) and not is_in(module, tuple(places)):
            yield f"{name} is imported in {module}"
    top = full.split(".")[0]
    if top in SDK and any(part.startswith("_") for part in full.split(".")):
        yield f"{full} is private to the SDK"
    if room in PURE and (top in IMPURE or (top in SDK and not is_in(full, SDK_OF_THE_PURE))):
        yield f"{full} is imported in {room}"


def attribute(node: ast.Attribute, room: str) -> Iterator[str]:
    """What is wrong with reading an attribute: the same things by another way."""
    owner = ast.unparse(node.value)
    if f"{owner}.{node.attr}" == "aiohttp.web" and room not in ONLY_IN["aiohttp.web"]:
        yield f"aiohttp.web is used in {room}"
    if owner.split(".")[0] in SDK and node.attr.startswith("_"):
        yield f"{owner}.{node.attr} is private to the SDK"
    if room in PURE and node.attr in CLOCKS and owner.split(".")[-1] in ("datetime", "date"):
        yield f"{owner}.{node.attr} is a clock in {room}"


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """`transport.kernel` of its file; a package is named like its directory, the root is empty."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def code_lines(paths: list[Path]) -> int:
    """Lines that do something: a budget on explanations would be paid in explanations."""
    return sum(len(_code(path.read_text(encoding="utf-8"))) for path in paths)


def _code(source: str) -> list[str]:
    told: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        for statement in (
            getattr(node, "body", None) or [] if not isinstance(node, ast.Lambda | ast.IfExp) else []
        ):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                told.update(range(statement.lineno, (statement.end_lineno or 0) + 1))
    numbered = enumerate(source.splitlines(), 1)
    return [
        line for number, line in numbered if line.strip() and number not in told and line.strip()[0] != "#"
    ]


def test_code_is_counted_without_what_explains_it():
    """Blank lines, comments and docstrings of any kind are not code; every line of a statement is."""
    source = (
        '"""What."""\n\nX = 1\n"""Why."""\n\n\ndef f(\n    a,\n):\n    """How."""\n    # so\n    return "x"\n'
    )
    assert _code(source) == ["X = 1", "def f(", "    a,", "):", '    return "x"']


@pytest.mark.parametrize("path", modules(), ids=lambda path: name_of(path) or "the face")
def test_a_module_imports_only_what_its_room_may(path):
    """Imports point one way, the core is pure, and the SDK's kernel has one importer."""
    source = path.read_text(encoding="utf-8")
    assert violations(source, name_of(path), package=path.stem == "__init__") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sessions.table", "from ..store import PostgresStore"),
        ("sessions.table", "from ..transport.calls import Calls"),
        ("transport.calls", "from ..store.pool import Pool"),
        ("transport.calls", "from archon_transport.web import Health"),
        ("transport.calls", "import archon_transport.store.pool"),
        ("transport.calls", "def late():\n    from .. import store"),
        ("store.pool", "from ..upkeep import Sweep"),
        ("auth.principal", "from ..sessions import Session"),
        ("web.health", "from ..app import App"),
        ("web.health", "from ..settings import Settings"),
        ("store.pool", "from .. import process"),
        ("settings", "from .sessions import Session"),
        ("process.run", "from ..app import App"),
        ("process.run", "from ..settings import Settings"),
        ("signals.logs", "from ..protocol import messages"),
        ("protocol.sse", "from ..signals import logs"),
        ("protocol.sse", "from ..sessions import Session"),
        ("app", "from .cli import main"),
        ("transport.calls", "from ..lounge import sofa"),
        ("transport.calls", "from mcp.server.runner import ServerRunner"),
        ("transport.endpoint", "from mcp.server import connection"),
        ("archon.server", "import mcp.shared.dispatcher"),
        ("transport.kernel", "from mcp.server._otel import Middleware"),
        ("transport.kernel", "from mcp.server.runner import _make_context"),
        ("transport.kernel", "import mcp._private.thing"),
        ("transport.kernel", "import mcp_types\nmcp_types._wire"),
        ("sessions.table", "import asyncpg"),
        ("transport.endpoint", "from asyncpg import Record"),
        ("web.health", "if TYPE_CHECKING:\n    from asyncpg.pool import Pool"),
        ("store.pool", "from aiohttp import web"),
        ("archon.tasks", "import aiohttp.web"),
        ("archon.tasks", "import aiohttp\naiohttp.web.Response()"),
        ("protocol.inbound", "import asyncio"),
        ("protocol.inbound", "import aiohttp"),
        ("protocol.inbound", "from time import monotonic"),
        ("protocol.inbound", "import logging"),
        ("protocol.inbound", "from datetime import datetime\ndatetime.now()"),
        ("protocol.inbound", "import datetime\ndatetime.datetime.utcnow()"),
        ("protocol.inbound", "from mcp.server import Server"),
    ],
)
def test_a_module_that_breaks_a_rule_is_found(module, source):
    """Each rule catches what it is for."""
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "transport.endpoint",
            "from ..sessions import Session\nfrom ..protocol import inbound\nfrom . import calls",
        ),
        ("transport.kernel", "from mcp.server.runner import ServerRunner"),
        ("app", "from aiohttp import web\nfrom .store import PostgresStore\nfrom .settings import Settings"),
        ("archon.server", "import asyncpg\nfrom .. import __version__\nfrom ..signals import logs"),
        (
            "protocol.inbound",
            "import json\nfrom mcp.shared.inbound import classify\nfrom mcp_types import PARSE_ERROR",
        ),
        ("knowledge.fetch", "import aiohttp\naiohttp.ClientSession()"),
        ("", "from .transport import StreamableHTTP"),
    ],
)
def test_a_module_that_keeps_the_rules_passes(module, source):
    """The rules forbid nothing that the rooms are for."""
    assert violations(source, module, package=module == "") == []


def test_every_directory_of_the_package_is_a_package():
    """Without its `__init__.py` a directory would be missing from what is installed."""
    assert [path.parent for path in modules() if not (path.parent / "__init__.py").exists()] == []


def test_the_package_stays_small():
    """Lines are a budget: what goes over has to take something away."""
    assert code_lines([path for path in modules() if name_of(path).split(".")[0] in CORE]) <= CORE_LINES
    assert code_lines(modules()) <= PACKAGE_LINES
    long = [path for path in modules() if len(path.read_text(encoding="utf-8").splitlines()) > MODULE_LINES]
    assert [name_of(path) for path in long] == []


AUTHORS_OWN = {
    "a rule by its number": r"\brules?\s\d+",
    "a paper of the authors": r"\b(DESIGN|RULES|STYLE)(\.md|\s\d)|\breference/\w+\.md",
    "a path of one machine": r"(?<![\w.])/(work|root|Users)/|/opt/[v]env\b",
    "a host of a registry": r"\b(pypi|npmjs|pythonhosted|deb\.debian)\.org\b",
}
"""What means nothing to whoever reads the source elsewhere: a reason belongs in its place."""


def texts() -> list[Path]:
    folders = [ROOT / name for name in ("archon_transport", "tests", "deploy", ".ci")]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.suffix in (".md", ".cfg", ".toml")]
    return sorted(path for path in found if not {"__pycache__", "node_modules"} & set(path.parts))


def own(text: str) -> list[str]:
    return [what for what, pattern in AUTHORS_OWN.items() if re.search(pattern, text)]


def test_nothing_refers_to_what_a_reader_cannot_have():
    """Source and tests stand for themselves."""
    marked = {path.name: own(path.read_text(encoding="utf-8", errors="replace")) for path in texts()}
    assert {name: what for name, what in marked.items() if what} == {}


@pytest.mark.parametrize(
    "text",
    [
        "see rule" + " 29",
        "as in DESIGN" + ".md",
        "(RULES" + " 7)",
        "/wo" + "rk/main",
        "/opt" + "/venv/bin",
        "pypi" + ".org",
    ],
)
def test_a_reference_that_a_reader_cannot_follow_is_found(text):
    """Each of these patterns catches what it is for."""
    assert len(own(text)) == 1
