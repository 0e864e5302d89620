"""`sirl config`: each setting with value, origin and meaning; and the schema, which every recipe keeps to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from commands import sirl

from sirl.config import RECIPES, read_recipe
from sirl.config.described import described, schema
from sirl.errors import ConfigError

SCHEMA = schema()


def faults(value: Any, rule: dict[str, Any], where: str = "") -> list[str]:
    """Check a value by the part of JSON Schema that ours uses; name what is wrong with it."""
    if "$ref" in rule:
        return faults(value, SCHEMA["$defs"][rule["$ref"].removeprefix("#/$defs/")], where)
    left = rule.keys() - {"description", "default", "title", "$schema", "$defs"}
    checks = {
        "type": lambda kind: (
            any(isinstance(value, TYPES[one]) for one in ([kind] if isinstance(kind, str) else kind))
            and (kind == "boolean" or not isinstance(value, bool))
        ),
        "enum": lambda known: value in known,
        "minimum": lambda least: value >= least,
        "maximum": lambda most: value <= most,
        "exclusiveMinimum": lambda least: value > least,
        "exclusiveMaximum": lambda most: value < most,
    }
    found = [
        f"{where} is against {name}" for name in sorted(left & checks.keys()) if not checks[name](rule[name])
    ]
    rest = left - checks.keys()
    assert rest <= {"properties", "additionalProperties", "items"}, rest
    if isinstance(value, list):
        found += [fault for one in value for fault in faults(one, rule.get("items", {}), where)]
    if isinstance(value, dict) and not found:
        known, other = rule.get("properties", {}), rule.get("additionalProperties", {})
        for name, one in value.items():
            own = known.get(name, other)
            found += [f"{where}.{name} is unknown"] if own is False else faults(one, own, f"{where}.{name}")
    return found


TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_and_study_is_right_by_the_schema(path):
    assert faults(read_recipe(path.stem), SCHEMA) == []


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"train": {"step": 3}}, ".train.step is unknown"),
        ({"train": {"steps": 0}}, ".train.steps is against minimum"),
        ({"train": {"gate": "none"}}, ".train.gate is against type"),
        ({"train": {"gate": {"kind": "strat"}}}, ".train.gate.kind is against enum"),
        ({"train": {"steps": True}}, ".train.steps is against type"),
        ({"train": {"snapshots": [0]}}, ".train.snapshots is against minimum"),
        ({"trian": {}}, ".trian is unknown"),
        ({"methods": {"mine": {"gate": {"kinds": "none"}}}}, ".methods.mine.gate.kinds is unknown"),
        ({"study": {"train": {"clip": 0.1}}}, ".study.train.clip is unknown"),
    ],
)
def test_the_schema_tells_a_slip(table, fault):
    assert faults(table, SCHEMA) == [fault]


def test_every_setting_says_what_it_does_and_takes():
    told = described("paper")
    assert [one.name for one in told if not one.does.endswith(".") or not one.takes] == []
    assert len({one.name for one in told}) == len(told) > 60
    assert {one.origin for one in told} == {"default", "not read by sirl"}


def test_where_a_value_comes_from(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "organism"\n[train.gate]\nsamples = 3\n[train.search]\nprompts = 5\n')
    code, out, err = sirl(
        *("config", "show", "organism:llama", "--recipe", mine, "--json"),
        *("--set", "train.search.prompts=7", "--set", "train.search.attacker=https://me:pw@h.org/v1#m"),
    )
    assert code == 0, err
    told = {one["name"]: (one["value"], one["origin"]) for one in json.loads(out)}
    assert told["train.gate.kind"] == ("propensity", "organism")
    assert told["train.gate.samples"] == (3, str(mine))
    assert told["train.search.prompts"] == (7, "--set")
    assert told["train.search.attacker"] == ("https://h.org/v1#m", "--set")
    assert told["train.prompts"] == ([], "the model")
    assert told["train.grpo.kl"] == (0.001, "not read by distill")
    assert told["model.dtype"] == ("float32", "default")


def test_the_table_for_any_model_and_for_an_organism():
    code, out, _ = sirl("config", "show")
    assert (code, "train.prompts" in out, "pku-saferlhf" in out) == (0, True, True)
    assert sirl("config", "show", "organism:llama")[1] != out
    code, _, err = sirl("config", "show", "--set", "train.gait.kind=none")
    assert (code, "did you mean gate" in err) == (2, True)
    with pytest.raises(ConfigError, match="recipe 'absent'"):
        described("absent")


def test_the_schema_is_printed_as_it_is_shipped():
    code, out, _ = sirl("config", "schema")
    assert (code, json.loads(out)) == (0, SCHEMA)
