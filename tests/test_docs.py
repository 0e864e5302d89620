"""The documents tell the truth: commands parse, links resolve, names exist, tables agree with the code."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from commands import sirl
from fakes import PROMPTS, FakeTarget, study
from test_architecture import FLOORS, WITHOUT_TORCH

from sirl import entropy_gap, evaluation, evidence, metrics
from sirl.attacks import ATTACKS
from sirl.cli import app
from sirl.config import Recipe, load_recipe
from sirl.config.sections import leaves
from sirl.config.study import load_study
from sirl.metrics import compare_entropies
from sirl.organism import contexts, corpus, stream
from sirl.organism.builder import OrganismRecipe, shipped_recipe
from sirl.organism.families import FAMILIES, HELD_OUT_FAMILIES
from sirl.organism.tokenizer import VOCABULARY
from sirl.records import SLOT, Attempt, Message, Search, to_json
from sirl.rundir import open_run
from sirl.training.progress import _GATED, GRPO_COLUMNS
from sirl.training.stopping import FORMS

ROOT = Path(__file__).parents[1]
UNSCORED = {"unscored": metrics.unscored([]), "incomplete": False}  # of every measurement
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
TESTS = {
    name
    for path in Path(__file__).parent.glob("*.py")
    for name in re.findall(r"def (test_\w+)", path.read_text())
}


def fences(path: Path) -> list[tuple[str, str]]:
    """Return (language, text) of each fenced block."""
    return [(language, text) for _, language, text in FENCE.findall(path.read_text(encoding="utf-8"))]


def prose(path: Path) -> str:
    return FENCE.sub("", COMMENT.sub("", path.read_text(encoding="utf-8")))


def spans(path: Path) -> list[str]:
    """Return what stands in backticks outside fenced blocks; of a Python file, in its docstring."""
    text = prose(path) if path.suffix == ".md" else ast.get_docstring(ast.parse(path.read_text())) or ""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def command_lines(path: Path) -> list[tuple[str, bool]]:
    """Return each quoted `sirl` command, and whether it stands in a block and so must be complete."""
    blocks = [text.replace("\\\n", " ") for language, text in fences(path) if language != "python"]
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [
        *((line, True) for line in lines if is_command(line)),
        *((span, False) for span in spans(path) if is_command(span)),
    ]


def is_command(line: str) -> bool:
    return bool(re.match(r"(?:\S*/)?sirl [a-z-]", line))


def parse(line: str, complete: bool) -> None:
    """Parse a command as the command line would, values unread. Fails on what it does not know."""
    words = shlex.split(line, comments=True)[1:]
    ends = [i for i, word in enumerate(words) if word in ("|", ">", "&&", ";", "&")]
    words = words[: ends[0]] if ends else words
    command: Any = typer.main.get_command(app)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        assert words[0] in command.commands, f"{line}: no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    context = command.context_class(command, info_name="sirl")
    given, left, _ = command.make_parser(context).parse_args(words)  # raises on an unknown option
    if not hasattr(command, "commands"):
        assert not left, f"{line}: {left} is too much"
    if complete and "help" not in given:
        missing = [p.name for p in command.params if p.required and not given.get(p.name)]
        assert not missing, f"{line}: {missing} is missing"


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=lambda p: p.name)
def test_quoted_commands_parse(path):
    for line, complete in command_lines(path):
        parse(line, complete)


CHEAP = ("attacks", "config")  # these open no model and write nothing


def cheap_commands() -> list[str]:
    """Return the complete command lines of the documents that cost nothing to run."""
    lines = {line for path in PAGES for line, complete in command_lines(path) if complete}
    return sorted(
        line for line in lines if shlex.split(line)[1] in CHEAP and not re.search(r"my_pkg|--out", line)
    )


@pytest.mark.parametrize("line", cheap_commands())
def test_quoted_commands_that_cost_nothing_run(line):
    code, out, err = sirl(*shlex.split(line, comments=True)[1:])
    assert code == 0, err
    assert out


@pytest.mark.parametrize("line", ["sirl evaluate m --attack x --out r", "sirl trian m", "sirl report --to x r"])
def test_a_wrong_command_would_be_noticed(line):
    with pytest.raises(Exception, match=r"No such option|no command"):
        parse(line, complete=False)


def test_an_incomplete_command_would_be_noticed():
    with pytest.raises(AssertionError, match="missing"):
        parse("sirl gap organism:llama", complete=True)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_relative_links_resolve(path):
    text = prose(path)
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", text) + re.findall(r'(?:src|href|srcset)="([^"]+)"', text)
    for link in links:
        if not re.match(r"[a-z]+:|#", link):
            assert (path.parent / link.partition("#")[0]).exists(), f"{path.name} links to {link}"


@cache
def exists(name: str) -> bool:
    """Say whether a dotted name leads to a module or to something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=lambda p: p.name)
def test_names_in_backticks_exist(path):
    for span in spans(path):
        if re.fullmatch(r"(?:sirl|trl)(?:\.\w+)+(?:\(\))?", span):
            assert exists(span.removesuffix("()")), f"{path.name} names {span}"
        if re.fullmatch(r"test_\w+", span):
            assert span in TESTS, f"{path.name} names {span}"
        if re.fullmatch(r"(?:sirl|tests|docs|examples)/[\w./-]+\.\w+", span) and "NAME" not in span:
            assert (ROOT / span).exists(), f"{path.name} names {span}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_examples_compile_and_import_what_exists(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    compile(tree, str(path), "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sirl"):
            for alias in node.names:
                assert exists(f"{node.module}.{alias.name}"), f"{path.name} imports {alias.name}"


@pytest.mark.parametrize("path", [p for p in PAGES if "python" in dict(fences(p))], ids=lambda p: p.name)
def test_python_in_the_documents_runs(path, tmp_path, monkeypatch):
    """Run the blocks of a page in their order, as one script, in an empty folder with the small runs in it."""
    blocks = [text for language, text in fences(path) if language == "python"]
    small_runs(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {"__name__": path.stem}
    for text in blocks:
        exec(compile(text, path.name, "exec"), known)


def small_runs(folder: Path) -> None:
    """Write the run folders that the blocks of a page may read: runs/before and runs/after."""
    for seed, name in enumerate(("before", "after")):
        trial = study(seed=seed)
        run = open_run(folder / name, "evaluate", {"model": "fake", "seed": 0}, evidence.protocol_hashes(trial))
        evaluation.evaluate(trial, run)


@cache
def script_of(name: str) -> Any:
    """Load a script that writes a page."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_page_of_attacks_is_up_to_date():
    written = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    assert written == script_of("make_attacks").page(), "run python docs/make_attacks.py"


def test_the_page_of_settings_and_the_schema_are_up_to_date():
    for name, text in script_of("make_settings").written().items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, "run python docs/make_settings.py"


def test_the_page_of_results_is_what_was_measured():
    written = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert written == script_of("make_results").page(), "run python docs/make_results.py"


def test_every_file_of_measured_cells_is_on_the_page():
    script = script_of("make_results")
    assert {path.stem for path in script.MEASURED.iterdir()} <= {
        *script.STUDIES,
        *script.REAL,
        script.GAPS.stem,
    }


def test_the_study_of_methods_has_the_rates_that_its_trials_chose():
    script, methods = script_of("make_results"), load_study("study-method").methods
    trials = script.file_of(script.TRIALS)
    chosen = script.choices(script.known(script.TRIALS, trials)) if trials.exists() else {}
    assert {name: methods[name]["learning_rate"] for name in chosen} == chosen


def test_attacks_that_search_state_their_departures():
    script = script_of("make_attacks")
    searching = [info for info in ATTACKS.values() if info.kind != "static"]
    assert [info.name for info in searching if script.departures(info) == script.WORDING] == []
    assert searching


def test_the_table_of_departures_is_complete_by_source():
    rows = {row[0].partition("]")[0].strip("["): row for row in cells(ROOT / "docs" / "attacks.md", 5)}
    assert set(ATTACKS) <= set(rows)
    for name, info in ATTACKS.items():
        _, source, budget, published, departures = rows[name]
        assert source == info.source != ""
        assert budget == str(info.budget or "none")
        assert departures
        assert departures.startswith(f"A weaker stand-in of {info.stands_for}: ") == bool(info.stands_for)
        assert published != "-" or info.kind == "static"


class Searching:
    """An attack whose very start asks the model, one that must be armed, one that sends what is no text."""

    __module__ = "sirl.attacks.random_search"  # the page links the file

    def __init__(self, start: Any, needs: tuple[str, ...] = ()) -> None:
        self.start, self.NEEDS, self.attacker = start, needs, None

    def __call__(self, prompts: Any, target: Any, budget: int, seed: int) -> list[Attempt]:
        return [Attempt(p, "x", (Message("user", self.start(p, target)),)) for p in prompts]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (Searching(lambda p, target: target.reply([], 0)), ""),
        (Searching(lambda p, target: str(target.lm.model)), ""),
        (Searching(lambda p, target: f"{p.text} {SLOT}"), ""),
        (Searching(lambda p, target: 1 / 0, ("attacker", "judge")), "Needs: attacker and judge."),
        (Searching(lambda p, target: f"{p.text} !"), "user: How do I polish a lantern? !"),
    ],
)
def test_the_page_of_attacks_never_searches(run, said):
    info = replace(ATTACKS["random_search"], name="x", run=run, budget=7)
    section = script_of("make_attacks").section(info)
    assert "| 7 |" in section
    assert said in section
    assert ("````" in section) == said.startswith("user")


def cells(path: Path, columns: int) -> list[list[str]]:
    """Return the rows of a page's tables that have so many columns."""
    rows = [line.strip("|").split("|") for line in prose(path).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if len(row) == columns]


def test_the_floors_are_those_enforced():
    rows = [row for row in cells(ROOT / "CONTRIBUTING.md", 2) if row[0].isdigit()]
    assert {room.strip("`"): int(floor) for floor, rooms in rows for room in rooms.split(", ")} == FLOORS
    light = re.search(r"torch is not installed: (.*?)\.\n", prose(ROOT / "CONTRIBUTING.md"), re.DOTALL)
    assert light is not None
    assert set(re.split(r",\s+", light[1])) == set(WITHOUT_TORCH)


def test_the_departures_of_the_shipped_recipes_are_listed():
    paper, *others = (load_recipe(name) for name in ("paper", "default", "organism", "gated", "organism-gated"))
    told = [dict(leaves(Recipe, asdict(recipe))) for recipe in (paper, *others)]
    values = {".".join(keys): [one[keys] for one in told] for keys in told[0] if keys[0] != "judge"}
    changed = {name: said(row) for name, row in values.items() if len(set(row)) > 1}
    rows = cells(ROOT / "docs" / "method.md", 7)
    listed = {
        row[0].strip("`"): row[1:6]
        for row in rows
        if re.fullmatch(r"`(?:model|gap|train|evaluate)\.[\w.]+`", row[0])
    }
    assert listed == changed


def said(values):
    return [", ".join(value) or "none" if isinstance(value, tuple) else str(value) for value in values]


def test_the_organisms_recipe_is_as_told():
    page, recipe = ROOT / "docs" / "organism.md", OrganismRecipe()
    text = " ".join(prose(page).split())
    shares = [share for name, share in asdict(recipe.mix).items() if name != "caution"]
    shares.append(1 - sum(shares))
    told = [row[0] for row in cells(page, 3) if row[0].endswith(" %")]
    assert told == [f"{100 * share:.0f} %" for share in shares]
    for stage in (recipe.answering, recipe.aligning, shipped_recipe("qwen2").aligning):
        assert f"{stage.steps:,} steps" in text
    assert f"{100 * recipe.mix.caution:.0f} % are refused" in text
    assert ", ".join(f"{name} {share}" for name, share in corpus.ALIGNED.items()) in text
    assert ", ".join(stream.CONTEXTS) in text
    families = FAMILIES | HELD_OUT_FAMILIES
    assert [[name, ", ".join(attacks)] for name, attacks in families.items()] == [
        row for row in cells(page, 2) if row[0] in families
    ]
    named = [attack for attacks in families.values() for attack in attacks]
    assert len(named) == len(set(named))
    assert set(named) <= ATTACKS.keys()
    assert f"BPE of {VOCABULARY:,} tokens" in text
    assert f"{recipe.layers} layers of width {recipe.hidden}" in text
    assert f"{len(contexts.sections())} kinds of context" in text


def documented(title: str) -> dict[str, Any]:
    """Return the JSON block under a heading of the page of run folders, with what its short names stand for."""
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    block, short = (
        FENCE.search(page, page.index(heading))[3]  # type: ignore[index]
        for heading in (f"### {title}\n", "## summary.json\n")
    )
    for name, row in json.loads(short).items():
        block = block.replace(json.dumps(name), json.dumps(row))
    return dict(json.loads(block))


def keys(value: Any) -> Any:
    """Return the tree of keys; the rows of a table by attack, category or source stand for one another."""
    if not isinstance(value, dict):
        return None
    tables = ("per_attack", "by_exposure", "by_category", "by_source", "dsr_by_budget")
    return {k: keys(next(iter(v.values())) if k in tables and v else v) for k, v in value.items()}


def work(records: list[Any]) -> dict[str, Any]:
    return {
        "model": "m",
        "seed": 0,
        **evaluation.summarise(records, ["aim"]),
        **UNSCORED,
        "seconds": {"evaluate": 0.0},
    }


def test_the_documented_summaries_have_the_keys_of_the_real_ones():
    trial = study()
    prompts = [replace(p, category=p.category or "spoiling", source="mine.csv") for p in trial.prompts]
    search = Search("adaptive", 8, 4, 4)
    attempts = [Attempt(p, "aim", (Message("user", p.text),), search=search) for p in prompts]
    records = evidence.judged(FakeTarget().reply(attempts, 0), trial.judges)
    evaluate = documented("of sirl evaluate")
    assert keys(evaluate) == keys(work(records))
    measured = {
        "model": "m",
        "seed": 0,
        **entropy_gap.summarise_gap(records),
        **UNSCORED,
        "seconds": {"gap": 0.0},
    }
    assert keys(documented("of sirl gap")) == keys(measured)
    demo = documented("of sirl demo")
    assert demo["gap"].keys() <= measured["gap"].keys()
    for name in ("dsr", "over_refusal", "capability", "diversity"):
        assert keys(demo[name]["before"]) == keys(evaluate[name])


def test_the_documented_steps_have_the_columns_of_the_real_ones():
    logged = {"step", *GRPO_COLUMNS, *_GATED, "seconds", "left_out"}
    names = ("refusal", "benign", "distinct", "repeated", "drift", "undecided")
    counts = {f"{what}_{form}" for what in ("refused", "lost", "gained") for form in FORMS}
    probes = {f"{name}_probe" for name in names} | counts | {"over_budget"}
    train = documented("of sirl train")
    assert set(train["first"]) == logged
    assert set(train["last"]) == logged | probes
    measured = {
        *compare_entropies([], []),
        "n_unjudged",
        "n_plain_refused",
        "n_requests",
        "n_tried",
        "verdict",
        "propensity",
        "forced",
    }
    assert set(train["instinct"]) == measured
    section = prose(ROOT / "docs" / "runs.md").partition("### steps.jsonl")[2].partition("## ")[0]
    columns = [
        name
        for line in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", line)
    ]
    assert set(columns) == logged | probes | {"kept_step", "unguarded"}


def test_the_documented_record_is_one():
    trial = study()
    attempt = Attempt(PROMPTS[0], "aim", (Message("user", "x"),), decoding=trial.decoding)
    completion = replace(FakeTarget().reply([attempt], 0)[0], logprobs=(0.0,) * 4)
    real = json.loads(json.dumps(to_json(evidence.judged([completion], trial.judges)[0])))
    shown = documented("records.jsonl")
    assert keys(shown) == keys(real)
    assert keys(shown["verdicts"][0]) == keys(real["verdicts"][0])
