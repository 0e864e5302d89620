"""A story -> its few large figures, each with its interval and which direction is good."""

from __future__ import annotations

from dataclasses import dataclass

from sirl import metrics
from sirl.report.story import Side, Story
from sirl.report.training import ends, show, steps
from sirl.report.trust import judged_by
from sirl.report.wording import (
    MISSING,
    count,
    interval,
    nats,
    nats_interval,
    number,
    percent,
    plural,
    share,
    times_fewer,
)
from sirl.rundir import RunDir


@dataclass(frozen=True, slots=True)
class Tile:
    """A title, one (label, big figure, small figure, style) a side, and notes under them."""

    title: str
    figures: tuple[tuple[str, str, str, str], ...]
    notes: tuple[str, ...]


def headline(story: Story) -> list[Tile]:
    """Return the tiles of the page's top: of the evaluation, else of the gap, else of the training."""
    if story.sides:
        return [_withstood(story), _successes(story), _refusals(story), _tasks(story)]
    return [*map(_gap, story.gaps), *map(_training, story.trains)]


def _withstood(story: Story) -> Tile:
    tables = [metrics.dsr_table(side.records, story.seen or ()) for side in story.sides]
    names = {name for table in tables for name in table["per_attack"]} - {metrics.DIRECT}
    notes = [f"mean over {plural(len(names), 'attack')}; higher is safer"]
    if not names:
        notes = ["plain requests only: no attack was tried; higher is safer"]
    elif story.seen is not None:
        notes.append(f"{count(len(names - story.seen))} of them never used in training")
    lowest = [share(t["worst_detail"]) for t in tables]
    notes.append(f"lowest of them {_arrow(lowest)}")
    notes.append(f"prompts on which none succeeded {_arrow([share(t['union_detail']) for t in tables])}")
    judges = dict.fromkeys(judged_by(side.run.config, side.records, "harmful") for side in story.sides)
    notes += [f"judged by {told}" for told in judges if told]
    figures = [(percent(t["mean"]), interval(t)) for t in tables]
    return Tile("Attacks withstood (DSR)", _sides(story, figures), tuple(notes))


def _successes(story: Story) -> Tile:
    if len(story.sides) == 1:
        table = metrics.dsr_table(story.sides[0].records)
        broken = sum(metrics.withstood(r) is False for r in metrics.attacked(story.sides[0].records))
        notes = (f"of {count(table['n'])} scored replies", "lower is safer")
        figures = ((story.sides[0].label, count(broken) if table["n"] else MISSING, "", "one"),)
        return Tile("Successful attacks", figures, notes)
    found = metrics.successes(story.sides[0].records, story.sides[1].records)
    figure = f"{count(found['before'])} → {count(found['after'])}" if found["n"] else MISSING
    ratio = [times_fewer(found)] if found["n"] else []
    told = (f"of {count(found['n'])} attempts scored twice", "fewer is safer", *ratio)
    return Tile("Successful attacks", (("", figure, "", "after"),), told)


def _refusals(story: Story) -> Tile:
    tables = [metrics.over_refusal(side.records) for side in story.sides]
    figures = [(percent(t["benign"]["rate"]), interval(t["benign"])) for t in tables]
    borderline = _arrow([percent(t["borderline"]["rate"]) for t in tables])
    notes = ("lower is better", f"borderline requests (safe, but worded like harmful ones): {borderline}")
    return Tile("Benign requests refused", _sides(story, figures), notes)


def _tasks(story: Story) -> Tile:
    tasks = [metrics.select(side.records, "task", metrics.DIRECT) for side in story.sides]
    rows = [metrics.as_row(metrics.share(records, "correct")) for records in tasks]
    skills = [metrics.capability(side.records) for side in story.sides]
    names = dict.fromkeys(name for skill in skills for name, row in skill.items() if row["n"])
    notes = [
        f"{name or 'other'} {_arrow([percent(s[name]['rate']) if name in s else MISSING for s in skills])}"
        for name in names
    ]
    figures = [(percent(row["rate"]), interval(row)) for row in rows]
    return Tile("Tasks answered correctly", _sides(story, figures), ("higher is better", *notes))


def _gap(side: Side) -> Tile:
    table = metrics.gap_table(side.records)
    notes = (
        f"AUROC {number(table['auroc'], '.3f')}",
        f"{count(table['n_mixed'])} of {count(table['n_attempts'])} attempts hold both kinds of reply",
        f"pooled over all replies, as the paper’s: {nats(table['pooled']['difference'])} nats",
        "positive: more certain when it refuses",
    )
    figure = ("", f"{nats(table['difference'])} nats", nats_interval(table), "one")
    return Tile("Entropy gap within an attempt", (figure,), notes)


def _training(run: RunDir) -> Tile:
    rows = steps(run)
    lines = [
        f"{title} {show(name, found[0])} → {show(name, found[1])}"
        for name, title in (("reward", "reward"), ("entropy", "entropy"), ("refusal_probe", "probes refused"))
        if (found := ends(rows, name))
    ]
    return Tile("Training", (("", plural(len(rows), "step"), "", "one"),), tuple(lines))


def _sides(story: Story, figures: list[tuple[str, str]]) -> tuple[tuple[str, str, str, str], ...]:
    """Label each side's big figure; a figure that is missing has no interval to speak of."""
    return tuple(
        (side.label, big, "" if big == MISSING else small, side.style)
        for side, (big, small) in zip(story.sides, figures, strict=True)
    )


def _arrow(texts: list[str]) -> str:
    return " → ".join(texts)
