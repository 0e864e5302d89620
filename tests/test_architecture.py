"""The house is as drawn: imports point down, rooms of one floor are strangers, light rooms stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

SIRL = Path(__file__).parents[1] / "sirl"
FLOORS = {
    "errors": 1,
    "records": 2,
    "config": 2,
    "phases": 2,
    "plugins": 2,
    "ranks": 2,
    "sandbox": 2,
    "entropy": 3,
    "rewards": 3,
    "metrics": 3,
    "charts": 3,
    "planning": 3,
    "reasoning": 3,
    "prompts": 4,
    "rundir": 4,
    "lm": 4,
    "endpoint": 5,
    "generation": 5,
    "scoring": 5,
    "shards": 5,
    "tables": 5,
    "gradients": 5,
    "judges": 6,
    "attacks": 6,
    "organism": 6,
    "targets": 6,
    "propensity": 6,
    "defences": 7,
    "evidence": 7,
    "entropy_gap": 8,
    "harness": 8,
    "evaluation": 8,
    "training": 9,
    "reporting": 10,
    "inspect": 10,
    "serve": 11,
    "workflows": 12,
    "cli": 13,
    "__main__": 14,
}
WITHOUT_TORCH = (
    "records",
    "config",
    "ranks",
    "metrics",
    "charts",
    "planning",
    "prompts",
    "reasoning",
    "rundir",
    "endpoint",
    "attacks",
    "judges",
    "reporting",
    "tables",
    "defences",
    "serve",
    "cli",
)
MODULES = sorted(SIRL.rglob("*.py"))
VERBS = SIRL / "workflows" / "__init__.py"
DOORS = (VERBS, *(SIRL / "cli" / name for name in ("__init__.py", "groups.py", "results.py")))


def room(path: Path) -> str:
    return path.relative_to(SIRL).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            package = node.module == "sirl"
            names = [f"sirl.{a.name}" for a in node.names] if package else [node.module or ""]
        rooms |= {name.split(".")[1] for name in names if name.startswith("sirl.")}
    return rooms - {room(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SIRL)))
def test_imports_point_down(path):
    if path == SIRL / "__init__.py":
        return
    for other in imported_rooms(path):
        assert FLOORS[other] < FLOORS[room(path)], f"{room(path)} may not import {other}"


def test_every_room_has_a_floor():
    assert {room(path) for path in MODULES} - {"__init__"} == set(FLOORS)


def test_the_organism_is_a_guest():
    hosts = {room(path) for path in MODULES if "organism" in imported_rooms(path)}
    assert hosts == {"workflows"}


def test_the_time_of_day_decides_nothing():
    """A clock that jumps changes no record: it is read for a Retry-After and for how long a run is silent."""
    read = ("time.time", "time_ns", "datetime.now", "datetime.utcnow", "date.today")
    told = {
        str(path.relative_to(SIRL)) for path in MODULES if any(f"{way}(" in path.read_text() for way in read)
    }
    assert told == {"endpoint/pace.py", "reporting/live.py"}
    imported = [
        p for p in MODULES if "from time import" in p.read_text() and "time import time" in p.read_text()
    ]
    assert not imported


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SIRL)))
def test_only_the_doors_defer_an_import(path):
    if path in DOORS:
        return
    tree = ast.parse(path.read_text())
    inner = [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert not inner, f"{path}: imports inside functions on lines {inner}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SIRL)))
def test_rooms_stay_small(path):
    source = path.read_text()
    assert source.count("\n") <= 320, "a module of more than 320 lines is two rooms"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 80, f"{node.name} is longer than 80 lines"
            given = [a for a in node.args.args + node.args.kwonlyargs if a.arg not in ("self", "cls")]
            verb = path in DOORS  # a verb's and a command's options are the user's, not ours
            assert verb or len(given) <= 6, f"{node.name} takes {len(given)} parameters"


BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "trl"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
"""


IMPORTS = """
import importlib
for name in {names}:
    for module in [m for m in sys.modules if m.split(".")[0] == "sirl"]:
        del sys.modules[module]  # each room by itself, in one process
    try:
        importlib.import_module(f"sirl.{{name}}")
    except ImportError as error:
        print(f"{{name}}: {{error!r}}")
print(*{{"torch", "transformers", "trl"}} & set(sys.modules))
"""


@pytest.mark.parametrize("absent", [True, False])
def test_light_rooms_work_without_torch_and_leave_it_alone_where_it_is(absent):
    code = (BLOCK if absent else "import sys") + IMPORTS.format(names=WITHOUT_TORCH)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("\n", 0), done.stdout + done.stderr


def test_what_is_installed_with_it_is_bounded_and_what_is_shipped_is_the_package():
    project = tomllib.loads((SIRL.parent / "pyproject.toml").read_text())
    needed = [
        *project["project"]["dependencies"],
        *chain(*project["project"]["optional-dependencies"].values()),
    ]
    assert [need for need in needed if ">=" not in need or "<" not in need] == []
    targets = project["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"] == {"packages": ["sirl"]}
    assert set(targets["sdist"]["include"]) == {"/sirl", "/CHANGELOG.md"}
