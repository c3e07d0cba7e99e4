"""What is installed: the wheel carries every module and every file that the program reads."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_wheel_has_every_file_of_the_package(tmp_path):
    """Built as pip builds it from a copy of the sources; a missing file would only show elsewhere."""
    sources = tmp_path / "sources"
    sources.mkdir()
    tracked = ["archon_transport", "setup.cfg", "pyproject.toml", "LICENSE", "README.md"]
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in tracked), str(sources)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(sources)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("archon_transport/")}
    files = (path for path in (ROOT / "archon_transport").rglob("*") if path.is_file())
    assert packed == {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


def test_there_are_four_core_dependencies():
    """What everybody has to install stays a short list."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    names = [line.split(">")[0] for line in config["options"]["install_requires"].split()]
    assert names == ["aiohttp", "mcp", "pydantic", "asyncpg"]
