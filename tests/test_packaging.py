"""What is shipped: the sdist and the wheel, built for real, looked into, installed and imported.

The build needs no network: the build backend is one of the development dependencies.
"""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("vecio", "trainers")
EXPORTS = {
    "console_scripts": {"vecio": "vecio.cli:main"},
    "vecio.commands": {"demo": "trainers.demo:command"},
}


def run(*command: str, cwd: Path, **variables: str) -> str:
    """Run a command that must succeed; return what it printed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with an sdist of the tree, and with the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    """The wheel, open."""
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """The wheel's METADATA."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def package_files() -> set[str]:
    """Return the files of the packages in the tree, as a wheel names them."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_wheel_holds_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {name for name in names if ".dist-info/" not in name} == package_files()
    assert {"vecio/py.typed", "trainers/py.typed"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"vecio", "trainers"}


def test_wheel_fits_any_machine(built: Path) -> None:
    (path,) = built.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")


def test_wheel_carries_the_licence(wheel: zipfile.ZipFile, metadata: Message) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/LICENSE"))
    assert wheel.read(name) == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "MIT"


def test_wheel_asks_for_the_core_only(metadata: Message) -> None:
    asked = metadata.get_all("Requires-Dist") or []
    core = {text.split(">")[0] for text in asked if "extra ==" not in text}
    assert core == {"numpy", "numba", "safetensors", "mmap-ninja", "typer"}
    assert metadata["Requires-Python"] == ">=3.10"
    assert {"train", "bench", "dev", "tokenizers", "hub", "zstd", "arrow", "judges", "heavy"} == set(
        metadata.get_all("Provides-Extra") or []
    )


def test_wheel_brings_the_commands(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    parser = ConfigParser()
    parser.read_string(wheel.read(name).decode())
    assert {section: dict(parser[section]) for section in parser.sections()} == EXPORTS


def test_sdist_holds_the_sources_and_nothing_else(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    inner = {name for name in names if name.split("/")[0] in PACKAGES}
    assert inner == package_files()
    others = {name for name in names - inner if not name.startswith("specs/")}
    assert others == {"PKG-INFO", "README.md", "LICENSE", "pyproject.toml", ".gitignore"}


def test_installed_wheel_works_without_the_tree(built: Path, tmp_path: Path) -> None:
    (path,) = built.glob("*.whl")
    target = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--target", str(target), str(path), cwd=tmp_path)
    code = (
        "import vecio, trainers; print(vecio.__file__); print(trainers.__file__); print(len(vecio.__all__))"
    )
    lines = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(target)).splitlines()
    assert [Path(line).parent.parent for line in lines[:2]] == [target, target]
    assert int(lines[2]) > 0
    command = target / ("Scripts" if os.name == "nt" else "bin") / "vecio"
    assert "demo" in run(str(command), "--help", cwd=tmp_path, PYTHONPATH=str(target))
