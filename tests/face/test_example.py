"""The README's example, taken out of it and run: in this process, and as a stranger would who installs the package."""

import re
import subprocess
import venv
from pathlib import Path

import pytest
from mcp.client import Client as SdkClient

from tests.face.mounted import served
from tests.process.served import clean_environment
from tests.program import free_port, until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CORE = {"aiohttp", "mcp", "pydantic", "asyncpg"}

CLIENT = """
import asyncio, sys
from mcp.client import Client

async def main():
    async with Client(sys.argv[1], mode="legacy") as client:
        print((await client.call_tool("price", {"book": "Emma"})).content[0].text)

asyncio.run(main())
"""


def example() -> str:
    """The one Python block that shows `StreamableHTTP`."""
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", README)
    (found,) = [block for block in blocks if "StreamableHTTP" in block]
    return found


def test_it_is_twenty_lines():
    """Whoever reads it has read it."""
    assert len([line for line in example().splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_it_serves_the_sdks_own_client(mode):
    """In either era, as it stands there."""
    names = {"__name__": "shop"}
    exec(compile(example(), "README.md", "exec"), names)  # noqa: S102 - the README is ours
    async with served(names["app"]) as (_, url), SdkClient(f"{url}/mcp", mode=mode) as client:
        result = await client.call_tool("price", {"book": "Emma"})
        assert result.content[0].text == "Emma costs 12 euros."
        assert await names["transport"].sessions.count() == (1 if mode == "legacy" else 0)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_it_runs_where_only_the_core_dependencies_are(tmp_path):
    """In an environment that is made for it: installed without an extra, started as a script, called by a client."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = str(home / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", str(ROOT)]
    sources = tmp_path / "sources"
    sources.mkdir()
    wanted = ["archon_transport", "setup.cfg", "pyproject.toml", "LICENSE", "README.md"]
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in wanted), str(sources)], check=True)
    subprocess.run([*install[:-1], str(sources)], check=True, timeout=300)
    script = "import importlib.metadata as m; print(*m.requires('archon-transport'), sep='\\n')"
    printed = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout
    needed = {re.split(r"[<>=!~\[]", line)[0] for line in printed.splitlines() if "extra ==" not in line}
    assert needed == CORE
    port = free_port()
    shop, client = tmp_path / "shop.py", tmp_path / "client.py"
    shop.write_text(example().replace("port=8051", f"port={port}"))
    client.write_text(CLIENT)
    environ = clean_environment()
    del environ["PYTHONPATH"]
    with (tmp_path / "output").open("wb") as output:
        server = subprocess.Popen(
            [python, str(shop)], stdout=output, stderr=output, cwd=tmp_path, env=environ
        )
    try:
        until(lambda: b"Running on" in (tmp_path / "output").read_bytes() or server.poll() is not None)
        assert server.poll() is None, (tmp_path / "output").read_text()
        command = [python, str(client), f"http://127.0.0.1:{port}/mcp"]
        done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=60)
        assert done.stdout.strip() == "Emma costs 12 euros.", done.stderr
    finally:
        server.terminate()
        assert server.wait(20) == 0
