"""The rules of the house that no other tool checks: what the sources must not do, say or bring along.

Each rule is a small function over one parsed file; the first tests show that every rule fires on a bad example, the
later ones that nothing in the tree breaks it. What ruff, mypy and import-linter check is left to them.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: Largest file that belongs into the project (the one that comes near is a published model that tests read).
LARGEST = 1 << 20

Found = Iterator[tuple[int, str]]
Rule = Callable[[ast.AST], Found]


def sources(*folders: str) -> list[Path]:
    """Return the Python files of these folders."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def project_files() -> list[Path]:
    """Return all files that belong to the project: what git tracks or would track, else what the sdist brought."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(git, capture_output=True, check=True).stdout.decode().split("\0")
        return [path for name in names if name and (path := ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        kept = ("vecio", "trainers", "specs", "tests", "tools")
        return [path for folder in kept for path in (ROOT / folder).rglob("*") if path.is_file()]


def broken(rule: Rule, paths: list[Path]) -> list[str]:
    """Return one line for each place where one of the files breaks the rule."""
    assert paths, "no files to look at"
    return [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in paths
        for line, what in rule(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    ]


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Yield each call with the dotted name of what is called ("" where it has none)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, dotted(node.func)


def dotted(node: ast.AST) -> str:
    """Return "a.b.c" for a plain chain of names, else the last attribute behind a dot, else ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def imports(tree: ast.AST) -> Iterator[tuple[int, str, int]]:
    """Yield (line, module, level) of each import; `from a import b` gives both a and a.b; level counts the dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "", node.level
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}" if node.module else alias.name, node.level


# -- the rules ------------------------------------------------------------------------------------------------------

RUNS_CODE = {
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "runpy",
    "code",
}
RUNS_CODE |= {"ast.literal_eval", "yaml"}


def runs_what_it_reads(tree: ast.AST) -> Found:
    """Find what could make a program of a file's content: pickle and its kin, eval, names of modules out of data."""
    for line, module, level in imports(tree):
        if level == 0 and (module in RUNS_CODE or module.split(".")[0] in RUNS_CODE):
            yield line, f"imports {module}"
    for node, name in calls(tree):
        if name in {"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"}:
            yield node.lineno, f"calls {name}"
        if name.split(".")[-1] == "literal_eval":
            yield node.lineno, "calls literal_eval"
        if name.split(".")[-1] == "import_module" and not isinstance(node.args[0], ast.Constant):
            yield node.lineno, "imports a module whose name is not written down"
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if keyword.arg == "allow_pickle" and value is not False:
                yield node.lineno, "allows pickles"
            if keyword.arg == "weights_only" and value is not True:
                yield node.lineno, "loads more than weights"


def speaks_or_exits(tree: ast.AST) -> Found:
    """Find output and exits, but not what a module does when it is run as a program: a library returns and raises."""
    assert isinstance(tree, ast.Module)
    main = ast.dump(ast.parse("__name__ == '__main__'", mode="eval").body)
    library = [node for node in tree.body if not (isinstance(node, ast.If) and ast.dump(node.test) == main)]
    tree = ast.Module(library, [])
    for node, name in calls(tree):
        if name in {"print", "input", "breakpoint", "exit", "quit", "sys.exit", "os._exit", "os.abort"}:
            yield node.lineno, f"calls {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node) in {"sys.stdout", "sys.stderr", "sys.stdin"}:
            yield node.lineno, f"uses {dotted(node)}"
        if isinstance(node, ast.Name) and node.id == "SystemExit":
            yield node.lineno, "uses SystemExit"


def uses_numba(tree: ast.AST) -> Found:
    """Find numba: outside the kernels it would make an import slow."""
    for line, module, level in imports(tree):
        if level == 0 and module.split(".")[0] in {"numba", "llvmlite"}:
            yield line, f"imports {module}"


def compiles_parallel(tree: ast.AST) -> Found:
    """Find numba's parallel mode: it aborts with two Python threads or after a fork."""
    for node, _ in calls(tree):
        if any(keyword.arg == "parallel" for keyword in node.keywords):
            yield node.lineno, "uses parallel="
    for line, module, _ in imports(tree):
        if module.split(".")[-1] == "prange":
            yield line, "imports prange"


def imports_own_package(tree: ast.AST) -> Found:
    """Find a package that imports itself by name: inside, imports are relative, so that it can be moved as a whole."""
    for line, module, level in imports(tree):
        if level == 0 and module.split(".")[0] in {"vecio"}:
            yield line, f"imports {module} by name"


def trainers_by_name(tree: ast.AST) -> Found:
    """Find trainers that import themselves by name (see `imports_own_package`)."""
    for line, module, level in imports(tree):
        if level == 0 and module.split(".")[0] == "trainers":
            yield line, f"imports {module} by name"


def says_nothing(tree: ast.AST) -> Found:
    """Find a module without its opening words."""
    assert isinstance(tree, ast.Module)
    if not (ast.get_docstring(tree) or "").strip():
        yield 1, "has no docstring"


def undeclared(allowed: set[str]) -> Rule:
    """Return a rule that finds imports of packages that are neither Python's nor among `allowed`."""

    def rule(tree: ast.AST) -> Found:
        for line, module, level in imports(tree):
            top = module.split(".")[0]
            if level == 0 and top not in allowed and top not in sys.stdlib_module_names:
                yield line, f"imports {module}, which the project does not depend on"

    return rule


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (runs_what_it_reads, "import pickle"),
        (runs_what_it_reads, "def f():\n    from pickle import loads"),
        (runs_what_it_reads, "from ast import literal_eval"),
        (runs_what_it_reads, "import ast\nast.literal_eval('1')"),
        (runs_what_it_reads, "eval('1')"),
        (runs_what_it_reads, "exec('1')"),
        (runs_what_it_reads, "__import__(name)"),
        (runs_what_it_reads, "import yaml\nyaml.load(x)"),
        (runs_what_it_reads, "importlib.import_module(name)"),
        (runs_what_it_reads, "np.load(path, allow_pickle=True)"),
        (runs_what_it_reads, "np.load(path, allow_pickle=flag)"),
        (runs_what_it_reads, "torch.load(path, weights_only=False)"),
        (speaks_or_exits, "print('hello')"),
        (speaks_or_exits, "import sys\nsys.exit(1)"),
        (speaks_or_exits, "raise SystemExit"),
        (speaks_or_exits, "sys.stderr.write('x')"),
        (uses_numba, "from numba import njit"),
        (uses_numba, "def f():\n    import llvmlite.ir"),
        (compiles_parallel, "@njit(parallel=True)\ndef f(): pass"),
        (compiles_parallel, "from numba import prange"),
        (imports_own_package, "import vecio"),
        (imports_own_package, "from vecio.errors import VecioError"),
        (trainers_by_name, "from trainers import sgns"),
        (says_nothing, "x = 1"),
        (undeclared({"numpy"}), "import numpy, scipy"),
    ],
)
def test_each_rule_fires(rule: Rule, code: str) -> None:
    assert list(rule(ast.parse(code)))


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (runs_what_it_reads, "import re, json\nre.compile('x')\nnp.load(path, allow_pickle=False)"),
        (runs_what_it_reads, "importlib.import_module('vecio.kernels')"),
        (speaks_or_exits, "if __name__ == '__main__':\n    print(1)"),
        (speaks_or_exits, "self.print = 1\nlogging.getLogger('x')"),
        (uses_numba, "from .kernels import lookup"),
        (imports_own_package, "from . import errors\nfrom .vecio import x"),
        (undeclared({"numpy"}), "import os, numpy.typing\nfrom . import scipy"),
    ],
)
def test_no_rule_fires_without_cause(rule: Rule, code: str) -> None:
    assert not list(rule(ast.parse(code)))


# -- the sources ----------------------------------------------------------------------------------------------------


def test_nothing_read_is_ever_run() -> None:
    assert not broken(runs_what_it_reads, sources("vecio", "trainers"))


def test_the_library_neither_prints_nor_exits() -> None:
    speakers = ("cli", "_cli_", "progress", "_progress", "demo")
    silent = [path for path in sources("vecio", "trainers") if not path.stem.startswith(speakers)]
    assert not broken(speaks_or_exits, silent)


def test_numba_stays_in_the_kernels() -> None:
    outside = [p for p in sources("vecio", "trainers") if not p.parent.name.startswith("kernels")]
    assert not broken(uses_numba, outside)


def test_no_kernel_is_parallel() -> None:
    assert not broken(compiles_parallel, sources("vecio", "trainers"))


def test_packages_import_themselves_relatively() -> None:
    assert not broken(imports_own_package, sources("vecio"))
    assert not broken(trainers_by_name, sources("trainers"))


def test_every_module_says_what_it_is() -> None:
    assert not broken(says_nothing, sources("vecio", "trainers", "tools", "tests"))


def packages(requirements: list[str]) -> set[str]:
    """Return the import names of requirements (all of ours are named as they are imported)."""
    return {re.split(r"[^\w.-]", text)[0].replace("-", "_") for text in requirements}


def test_only_what_is_declared_is_imported() -> None:
    extras = PROJECT["optional-dependencies"]
    core = packages(PROJECT["dependencies"]) | {"llvmlite"}  # numba's own back end
    lazy = {name for extra in ("tokenizers", "hub", "zstd", "arrow") for name in packages(extras[extra])}
    lazy |= {"compression"}  # of Python 3.14
    assert not broken(undeclared(core | lazy), sources("vecio"))
    train = core | packages(PROJECT["optional-dependencies"]["train"]) | {"vecio", "triton"}
    assert not broken(undeclared(train), sources("trainers"))


# -- the public face ------------------------------------------------------------------------------------------------


def run_python(code: str) -> str:
    """Run code in a new interpreter; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_brings_nothing_slow() -> None:
    loaded = set(json.loads(run_python("import sys, json, vecio; print(json.dumps(sorted(sys.modules)))")))
    assert "vecio" in loaded
    slow = {"numba", "llvmlite", "typer", "click", "rich", "torch", "safetensors", "mmap_ninja", "trainers"}
    slow |= {"concurrent.futures", "asyncio", "multiprocessing", "importlib.metadata", "vecio.cli"}
    plain = set(json.loads(run_python("import sys, json, numpy; print(json.dumps(sorted(sys.modules)))")))
    assert not (slow & loaded) - plain


def test_every_public_name_is_there_and_documented() -> None:
    import vecio

    assert len(set(vecio.__all__)) == len(vecio.__all__)
    bare = []
    for name in vecio.__all__:
        item = getattr(vecio, name)
        if inspect.isclass(item) or inspect.isroutine(item):
            bare += [name] if not (item.__doc__ or "").strip() else []
        if inspect.isclass(item):
            members = {n: m for n, m in vars(item).items() if not n.startswith("_")}
            documented = {
                n: m for n, m in members.items() if callable(m) or isinstance(m, (property, classmethod))
            }
            bare += [f"{name}.{n}" for n, m in documented.items() if not (m.__doc__ or "").strip()]
    assert not bare


def test_every_format_has_a_spec() -> None:
    import vecio

    openings = [path.read_text(encoding="utf-8").splitlines()[:10] for path in (ROOT / "specs").glob("*.md")]
    named = {word for lines in openings for line in lines for word in re.findall(r"[\w-]+", line)}
    assert not [item["name"] for item in vecio.formats() if item["name"] not in named]


def test_readme_documents_every_command() -> None:
    import typer

    from vecio import cli

    command = typer.main.get_command(cli.app)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert command.commands
    assert not [name for name in command.commands if f"vecio {name}" not in readme]
    assert not [name for name, sub in command.commands.items() if not (sub.help or "").strip()]


# -- the files ------------------------------------------------------------------------------------------------------

#: What belongs to one machine: its folders, and where it gets its packages from.
MACHINE = re.compile(
    r"/(?:work|farm|root|home|Users)/|(?i:pypi\.org|pythonhosted|index-url|find-links|npmjs)"
)


@pytest.mark.parametrize(
    "text", ["see /home/me/x", "/" + "work/x", "--extra-index-url x", "https://PyPI.org/simple"]
)
def test_traces_of_a_machine_are_noticed(text: str) -> None:
    assert MACHINE.search(text)


def test_no_file_names_one_machine_or_registry() -> None:
    found = []
    for path in project_files():
        if path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        lines = enumerate(text.splitlines(), 1)
        found += [
            f"{path.relative_to(ROOT)}:{i}: {line.strip()[:80]}" for i, line in lines if MACHINE.search(line)
        ]
    assert not found


def test_no_file_is_large() -> None:
    assert not [str(path.relative_to(ROOT)) for path in project_files() if path.stat().st_size > LARGEST]


def test_constraints_pin_every_package_exactly() -> None:
    text = (ROOT / "tools" / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert not [line for line in lines if not re.match(r"^[a-z0-9-]+==[\w.]+( ; .+)?$", line)]
    pinned = {line.split("==")[0].replace("-", "_") for line in lines}
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    assert packages(PROJECT["dependencies"] + extras) <= pinned
    assert "torch==2.13.0" in lines  # the newest with a build without CUDA: see tools/pin.py
    assert not [line for line in lines if line.startswith(("nvidia-", "triton"))]
