"""The error codes that the package knows: those of the specification, and one more."""

from __future__ import annotations

import ast
from pathlib import Path

import mcp_types
import pytest

import archon_transport

PACKAGE = Path(archon_transport.__file__).parent
KNOWN = {-32700, -32600, -32601, -32602, -32603, -32020, -32021, -32022, -32002, -32042, -32800}
READ = {-32001}
"""The SDK's own code of a time-out: told from others in the records, never sent by us."""


def codes(source: str) -> set[int]:
    """Error codes of a source, written out or imported by name."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = getattr(node.operand, "value", None)
            if isinstance(value, int) and 32000 <= value <= 33000:
                found.add(-value)
        elif isinstance(node, ast.ImportFrom) and node.module == "mcp_types":
            values = [getattr(mcp_types, alias.name) for alias in node.names]
            found |= {value for value in values if type(value) is int and value <= -32000}
    return found


@pytest.mark.spec("J-16", "J-17", "E-12")
def test_no_other_code_is_in_the_package():
    """Only codes that the specification defines are sent, and -32800, which lies outside of what it keeps."""
    used = set().union(*(codes(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")))
    assert used - KNOWN - READ == set()
    assert {-32600, -32603, -32022} <= used, "the reading finds what is there"


@pytest.mark.parametrize(
    ("source", "code"),
    [("x = -32050", -32050), ("from mcp_types import REQUEST_TIMEOUT", mcp_types.REQUEST_TIMEOUT)],
)
def test_a_code_is_found(source, code):
    """Written as a number or as a name, a code of one's own would be noticed."""
    assert codes(source) == {code}
    assert code not in KNOWN
