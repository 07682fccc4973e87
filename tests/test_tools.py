"""The tools that set the project up: tools/_venv.py, tools/pin.py, tools/test.py. Nothing is installed here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import tools/NAME.py afresh; by its path, because Python has a module `test` of its own."""
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location(f"tools_{name}", TOOLS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def venv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """tools/_venv.py over an empty project in a folder; `steps` holds the commands that it would have run."""
    module = load("_venv", monkeypatch)
    (tmp_path / "pyproject.toml").write_text("[project]")
    (tmp_path / "constraints.txt").write_text("numpy==1")
    steps: list[list[str]] = []

    def run(command: list[str], failure: str) -> None:
        steps.append(command)
        if command[1:3] == ["-m", "venv"]:
            python = module.python_of(Path(command[3]))
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "CONSTRAINTS", tmp_path / "constraints.txt")
    monkeypatch.setattr(module, "_run", run)
    module.steps = steps  # type: ignore[attr-defined]
    return module


def test_environment_is_made_once(venv: ModuleType) -> None:
    python = venv.ensure("dev")
    assert python == venv.python_of(venv.ROOT / ".venv")
    assert [step[1:3] for step in venv.steps] == [["-m", "venv"], ["-m", "pip"], ["-m", "pip"]]
    assert venv.steps[-1][-2:] == ["--editable", f"{venv.ROOT}[dev]"]
    assert all(str(venv.CONSTRAINTS) in step for step in venv.steps[1:])
    assert venv.ensure("dev") == venv.ensure() == python
    assert len(venv.steps) == 3


def test_environment_is_added_to_when_it_lacks_an_extra(venv: ModuleType) -> None:
    venv.ensure()
    assert venv.steps[-1][-2:] == ["--editable", str(venv.ROOT)]
    venv.ensure("dev")
    assert [step[1:3] for step in venv.steps[3:]] == [["-m", "pip"]]
    venv.ensure("train")
    venv.ensure("dev")
    venv.ensure()
    assert len(venv.steps) == 5


def test_judges_that_do_not_install_are_named(venv: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    (venv.ROOT / "pyproject.toml").write_text('judges = [\n    "good>=1",\n    "bad>=2",\n]\n')
    venv.ensure("dev")
    tried: list[str] = []
    codes = {"good>=1": 0, "bad>=2": 1}

    def run(command: list[str], **_: object) -> object:
        tried.append(command[-1])
        return subprocess.CompletedProcess(command, codes[command[-1]])

    monkeypatch.setattr(venv.subprocess, "run", run)
    assert venv.add_each("judges") == ["bad>=2"]
    codes["bad>=2"] = 0
    assert venv.add_each("judges") == [] and venv.add_each("judges") == []
    assert tried == ["good>=1", "bad>=2"] * 2


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_environment_is_made_anew_when_its_definition_changes(venv: ModuleType, name: str) -> None:
    venv.ensure("dev")
    (venv.ROOT / name).write_text("changed")
    left = venv.ROOT / ".venv" / "left-over"
    left.touch()
    venv.ensure("dev")
    assert len(venv.steps) == 6
    assert not left.exists()


def test_broken_installation_is_not_taken_for_a_whole_one(
    venv: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = venv._run

    def fail(command: list[str], failure: str) -> None:
        whole(command, failure)
        if "--editable" in command:
            raise SystemExit(failure)

    monkeypatch.setattr(venv, "_run", fail)
    with pytest.raises(SystemExit, match="pip could not install the project"):
        venv.ensure("dev")
    monkeypatch.setattr(venv, "_run", whole)
    venv.ensure("dev")
    assert len(venv.steps) == 6


def test_environment_of_somebody_else_is_left_alone(venv: ModuleType) -> None:
    theirs = venv.ROOT / ".venv" / "theirs"
    theirs.parent.mkdir()
    theirs.touch()
    with pytest.raises(SystemExit, match="not made by this tool"):
        venv.ensure()
    assert theirs.exists()
    assert not venv.steps


def test_failed_step_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    venv = load("_venv", monkeypatch)
    with pytest.raises(SystemExit, match=r"error: it failed: .* -c raise SystemExit\(3\)"):
        venv._run([sys.executable, "-c", "raise SystemExit(3)"], "it failed")


def test_pins_carry_a_marker_only_where_pythons_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    pin = load("pin", monkeypatch)
    resolved = {
        (3, 10): {"numpy": "2.2", "same": "1", "tomli": "2"},
        (3, 11): {"numpy": "2.4", "same": "1", "torch": "2.13.0"},
        (3, 13): {"numpy": "2.5", "same": "1"},
    }
    assert pin.lines(resolved) == [
        'numpy==2.2 ; python_version < "3.11"',
        'numpy==2.4 ; python_version >= "3.11" and python_version < "3.13"',
        'numpy==2.5 ; python_version >= "3.13"',
        "same==1",
        "tomli==2",
        "torch==2.13.0",
    ]


@pytest.mark.parametrize(("codes", "status"), [((0, 0), 0), ((1, 0), 1), ((0, 5), 1)])
def test_all_checks_run_and_any_failure_counts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], codes: tuple[int, ...], status: int
) -> None:
    test = load("test", monkeypatch)
    commands = [(f"check{i}", [sys.executable, "-c", f"exit({code})"]) for i, code in enumerate(codes)]
    monkeypatch.setattr(test._venv, "ensure", lambda *_: Path(sys.executable))
    monkeypatch.setattr(test, "checks", lambda *_: commands)
    assert test.main([]) == status
    summary = capfd.readouterr().out.split("== summary\n")[1].splitlines()
    words = ["ok" if code == 0 else f"FAILED ({code})" for code in codes]
    assert [line.split("  ")[0] for line in summary[:-1]] == [f"check{i}" for i in range(len(codes))]
    assert all(word in line for word, line in zip(words, summary[:-1], strict=True))


def test_arguments_go_to_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    test = load("test", monkeypatch)
    name, command = test.checks("python", ["-k", "word"])[-1]
    assert name == "pytest"
    assert command[-2:] == ["-k", "word"]
