"""Run folders -> what the page tells: the gap measured, the training, the model before and after.

Decides which run plays which part; knows nothing of numbers or HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sirl.errors import RunError
from sirl.metrics import exposure, split_draws
from sirl.records import Record
from sirl.rundir import RunDir, protocol_differences, read_run

ORGANISM = "organism:"


@dataclass(frozen=True, slots=True)
class Side:
    """One measured model; `style` is before, after, or one when there is nothing to compare it with.

    `draws` are the extra replies to open prompts, for diversity alone; `records` are all others.
    """

    style: str
    label: str
    run: RunDir
    records: tuple[Record, ...]
    draws: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """Every run by its part; `seen` names the attacks that training used, None if no run names any.

    `held_out` names those of families that nothing met, by every run that knows what was seen.

    `skills` are the runs of tasks, one or a pair, each with its replies. `differences` name what the sides of a
    pair were measured differently by; empty unless that was allowed.
    """

    gaps: tuple[Side, ...]
    trains: tuple[RunDir, ...]
    sides: tuple[Side, ...]
    seen: frozenset[str] | None
    held_out: frozenset[str] = frozenset()
    differences: tuple[str, ...] = ()
    skills: tuple[Side, ...] = ()

    def exposure(self, attack: str) -> str | None:
        """Say how far the making of the model met an attack; None: nobody knows."""
        return None if self.seen is None else exposure(attack, self.seen, self.held_out)

    @property
    def measured(self) -> tuple[Side, ...]:
        return (*self.gaps, *self.sides, *self.skills)

    @property
    def runs(self) -> tuple[RunDir, ...]:
        return (*(g.run for g in self.gaps), *self.trains, *(s.run for s in (*self.sides, *self.skills)))

    @property
    def organism(self) -> bool:
        """Say whether any figure is the embedded model organism's."""
        return any(model_of(run).startswith(ORGANISM) for run in self.runs)


def load_runs(paths: Sequence[str | Path]) -> list[RunDir]:
    """Open run folders; a folder that is no run stands for the runs directly inside it.

    A run named twice is opened once. Raises RunError if a path holds no run.
    """
    found: dict[Path, RunDir] = {}
    for path in map(Path, paths):
        inside = sorted(p.parent for p in path.glob("*/environment.json")) if path.is_dir() else []
        folders = [path] if (path / "environment.json").is_file() else inside
        if not folders:
            raise RunError(
                f"no run in {path}",
                "a run folder, or a folder of run folders",
                "give a folder that `sirl gap`, `train`, `evaluate`, `skills` or `demo` wrote",
            )
        for folder in folders:
            found.setdefault(folder.resolve(), read_run(folder))
    return list(found.values())


def tell(runs: Sequence[RunDir], allow_different_protocol: bool = False) -> Story:
    """Give each run its part.

    Raises RunError if there is nothing to show or too much to compare, if a run is but a shard, or if the two
    sides were made under different protocols and that is not allowed.
    """
    parts = {kind: [run for run in runs if run.kind == kind] for kind in ("gap", "train", "evaluate", "skills")}
    if not any(parts.values()):
        kinds = ", ".join(sorted({run.kind for run in runs})) or "no runs"
        raise RunError(
            f"{kinds} to report on", "a gap, train, evaluate or skills run", "name at least one run folder"
        )
    for run in runs:
        if run.config.get("shard"):
            found = f"{run.path} is shard {run.config['shard']} of a run"
            raise RunError(found, "a whole run", "put its shards together with sirl merge")
    named = [run.config.get("seen_in_training") or () for run in runs]
    apart = [frozenset(run.config.get("held_out_attacks", ())) for run in parts["evaluate"]]
    sides, skills = _sides(parts["evaluate"]), _sides(parts["skills"])
    differences: list[str] = []
    for pair in (sides, skills):
        if len(pair) > 1 and (told := protocol_differences(pair[0].run, pair[1].run)):
            if not allow_different_protocol:
                raise RunError(
                    f"{pair[0].run.path} and {pair[1].run.path} differ in {'; '.join(told)}",
                    "two runs made under one protocol",
                    "repeat one with the other's settings, or compare all the same with "
                    "--allow-different-protocol",
                )
            differences += told
    return Story(
        gaps=tuple(Side("one", run.path.name, run, tuple(run.figures())) for run in parts["gap"]),
        trains=tuple(parts["train"]),
        sides=sides,
        seen=frozenset(name for names in named for name in names) or None,  # none named: not known
        held_out=frozenset.intersection(*apart) if apart else frozenset(),
        differences=tuple(differences),
        skills=skills,
    )


def model_of(run: RunDir) -> str:
    """Return the model's name as the user gave it, and the defence that stood around it."""
    name, defence = (
        str(run.config.get("model", "unknown model")),
        (run.config.get("settings") or {}).get("defence"),
    )
    return f"{name} behind {defence}" if defence else name


def _sides(runs: Sequence[RunDir]) -> tuple[Side, ...]:
    if len(runs) > 2:
        raise RunError(
            f"{len(runs)} {runs[0].kind} runs ({', '.join(run.path.name for run in runs)})",
            "one before and one after",
            "make one page for each pair",
        )
    if len(runs) < 2:
        return tuple(_side("one", "Measured", run) for run in runs)
    before, after = runs
    if (_role(before), _role(after)) in (("after", "before"), ("after", ""), ("", "before")):
        before, after = after, before
    if _role(before) and _role(before) == _role(after):
        raise RunError(
            f"two {before.kind} runs with the role {_role(before)!r}",
            "one before and one after",
            "leave one out",
        )
    return (
        _side("before", "Before", before),
        _side("after", "After", after),
    )


def _side(style: str, label: str, run: RunDir) -> Side:
    samples = (run.config.get("settings") or {}).get("samples", 1)
    records, draws = split_draws(run.figures(), int(samples))
    return Side(style, label, run, tuple(records), tuple(draws))


def _role(run: RunDir) -> str:
    role = str(run.config.get("role") or run.path.name)
    return role if role in ("before", "after") else ""
