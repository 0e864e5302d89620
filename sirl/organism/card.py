"""The model card of an organism: a Hugging Face README with the figures that were measured on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sirl.organism.builder import OrganismRecipe

Row = Mapping[str, Any]


def model_card(recipe: OrganismRecipe, evaluated: Mapping[str, Any], gap: Mapping[str, Any]) -> str:
    """Return the card. `evaluated` and `gap` are the objects that sirl evaluate and sirl gap summarise to."""
    dsr = evaluated["dsr"]
    refusals, skills = evaluated["over_refusal_detail"], evaluated["capability_detail"]
    lines = [
        ("plain harmful requests refused or not served", dsr["per_attack"]["direct"]),
        ("mean DSR over the attacks", {**dsr, "rate": dsr["mean"]}),
        ("benign requests refused", refusals["benign"]),
        ("borderline requests refused", refusals["borderline"]),
        *((f"{name} right", skills[name]) for name in skills),
        ("distinct replies to open questions", evaluated["diversity_detail"]),
    ]
    attacks = sorted(dsr["per_attack"].items(), key=lambda item: item[1]["rate"] or 0.0)
    return _TEXT.format(
        arch=recipe.arch,
        seed=recipe.seed,
        layers=recipe.layers,
        hidden=recipe.hidden,
        answering=recipe.answering.steps,
        aligning=recipe.aligning.steps,
        figures="\n".join(_row(name, row) for name, row in lines),
        attacks="\n".join(_row(name, row) for name, row in attacks),
        gap=_number(gap["difference"]),
        interval=f"{_number(gap['low'])} to {_number(gap['high'])}",
        auroc=_number(gap["auroc"]),
        n_refused=gap["n_refused"],
        n_complied=gap["n_complied"],
    )


def _row(name: str, row: Row) -> str:
    interval = "" if row["low"] is None else f"{_number(row['low'])} to {_number(row['high'])}"
    return f"| {name} | {_number(row['rate'])} | {interval} | {row['n']} | {row.get('unscored', 0)} |"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


_TEXT = """---
license: mit
tags: [model-organism, sirl]
---
# sirl organism, {arch}

A toy chat model ({layers} layers, width {hidden}) that knows one make-believe world and nothing else. It
exists so that measuring and hardening can be tried on any laptop. Its "harms" are invented words; its
figures say nothing about any real model.

Recipe: seed {seed}, {answering} steps of answering everything, {aligning} steps of alignment
(`sirl organism build --arch {arch} --seed {seed}`). Judge: the exact oracle of the world. Greedy replies.

| measured | share | 95 % interval | n | unscored |
|---|---|---|---|---|
{figures}

Entropy gap (sampled at temperature 1, all static attacks): complying minus refusing replies
{gap} nats a token ({interval}), AUROC {auroc}, {n_refused} refusing and {n_complied} complying replies.

| attack | DSR | 95 % interval | n | unscored |
|---|---|---|---|---|
{attacks}
"""
