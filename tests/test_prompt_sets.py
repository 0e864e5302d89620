"""Published prompt sets: known by their columns, loaded by name, sampled by seed. All rows are harmless."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.errors import ConfigError, DataError
from sirl.prompts import SETS, combine, load_prompts
from sirl.prompts.files import recognise
from sirl.prompts.published import load_info, load_set
from sirl.prompts.rows import Origin, Selection, read_rows
from sirl.prompts.sets import HARMBENCH, SHAPES
from sirl.records import Prompt
from sirl.workflows.sources import PromptSources

# The columns of each published CSV, filled with rows of ours.
FILES = {
    "advbench": [{"goal": "Brush a moonfox", "target": "Sure, here is how to brush a moonfox"}],
    "harmbench": [
        {
            "Behavior": "Name its colour",
            "FunctionalCategory": "contextual",
            "SemanticCategory": "grooming",
            "Tags": "context",
            "ContextString": "The moonfox is blue.",
            "BehaviorID": "moonfox_colour",
        },
        {
            "Behavior": "Comb a puddle owl",
            "FunctionalCategory": "standard",
            "SemanticCategory": "grooming",
            "Tags": "",
            "ContextString": "",
            "BehaviorID": "comb_owl",
        },
    ],
    "jailbreakbench": [
        {
            "Index": "0",
            "Goal": "Write a song for a mist pony",
            "Target": "Here is a song for a mist pony",
            "Behavior": "Pony song",
            "Category": "Music",
            "Source": "Original",
        }
    ],
    "strongreject": [
        {"category": "Care", "source": "custom", "forbidden_prompt": "How do I feed a tide lynx?"}
    ],
    "xstest": [
        {
            "id": "1",
            "prompt": "How do I kill a yawn?",
            "type": "figurative_language",
            "label": "safe",
            "focus": "kill",
            "note": "",
        },
        {
            "id": "2",
            "prompt": "How do I spoil a plum bear?",
            "type": "contrast_figurative_language",
            "label": "unsafe",
            "focus": "spoil",
            "note": "",
        },
    ],
    "do-not-answer": [
        {
            "id": "1",
            "risk_area": "Gossip",
            "types_of_harm": "Small",
            "specific_harm": "None",
            "question": "Whose moonfox snores?",
        }
    ],
    "pku-saferlhf": [
        {"prompt": "Tell me of owls", "response_0": "a", "response_1": "b"},
        {"prompt": "Tell me of owls", "response_0": "c", "response_1": "d"},
    ],
}


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def loaded(tmp_path):
    return {name: load_prompts(write(tmp_path / f"{name}.csv", rows)) for name, rows in FILES.items()}


def test_every_published_file_is_known_by_its_columns(loaded):
    assert {name: one.provenance.set for name, one in loaded.items()} == {name: name for name in FILES}
    assert {shape.name for shape in SHAPES} == set(FILES)


def test_the_columns_of_each_set_become_the_prompts_fields(loaded):
    (adv,) = loaded["advbench"].prompts
    assert (adv.text, adv.target) == ("Brush a moonfox", "Sure, here is how to brush a moonfox")
    context, plain = loaded["harmbench"].prompts
    assert context.text == "The moonfox is blue.\n\nName its colour"
    assert (context.id, context.category) == ("harmbench:moonfox_colour", "grooming")
    assert plain.text == "Comb a puddle owl"
    (jbb,) = loaded["jailbreakbench"].prompts
    assert (jbb.text, jbb.category, jbb.target) == (
        "Write a song for a mist pony",
        "Music",
        "Here is a song for a mist pony",
    )
    (strong,) = loaded["strongreject"].prompts
    assert (strong.text, strong.category) == ("How do I feed a tide lynx?", "Care")
    (dna,) = loaded["do-not-answer"].prompts
    assert (dna.id, dna.text, dna.category) == ("do-not-answer:1", "Whose moonfox snores?", "Gossip")
    untold = {"jailbreakbench", "pku-saferlhf"}  # their files do not say whether they are harmful
    for name in set(FILES) - {"xstest"}:
        kind = "unlabelled" if name in untold else "harmful"
        assert {p.kind for p in loaded[name].prompts} == {kind}, name
        assert loaded[name].provenance.assumed == ({kind: len(FILES[name])} if name in untold else {})


def test_safe_prompts_of_xstest_are_borderline_and_their_contrasts_harmful(loaded, tmp_path):
    assert [p.kind for p in loaded["xstest"].prompts] == ["borderline", "harmful"]
    assert loaded["xstest"].provenance.kinds == {"borderline": 1, "harmful": 1}
    unlabelled = [{k: v for k, v in row.items() if k not in ("label", "id")} for row in FILES["xstest"]]
    again = load_prompts(write(tmp_path / "v2.csv", unlabelled))
    assert [p.kind for p in again.prompts] == ["borderline", "harmful"]


def test_a_label_that_nobody_knows_is_refused(tmp_path):
    rows = [FILES["xstest"][0] | {"label": "dubious"}]
    with pytest.raises(DataError, match="label 'dubious' in row 2"):
        load_prompts(write(tmp_path / "x.csv", rows))


def test_a_kind_of_ones_own_wins_over_the_sets(tmp_path):
    rows = [row | {"kind": "benign"} for row in FILES["xstest"]]
    assert {p.kind for p in load_prompts(write(tmp_path / "x.csv", rows)).prompts} == {"benign"}
    benign = load_prompts(write(tmp_path / "jbb.csv", FILES["jailbreakbench"]), kind="benign")
    assert benign.prompts[0].kind == "benign"


def test_repeated_prompts_are_dropped_and_counted(loaded):
    assert loaded["pku-saferlhf"].provenance.dropped == {"duplicate": 1}


def test_a_table_that_could_be_anyones_is_nobodys(tmp_path):
    rows = [{"prompt": "hello", "category": "greeting", "target": "Hello"}]
    one = load_prompts(write(tmp_path / "x.csv", rows))
    assert one.provenance.set == ""
    assert one.prompts[0].target == "Hello"
    assert recognise(["prompt", "category"]) is None


def test_a_column_may_be_named_in_a_known_table(tmp_path):
    path = write(tmp_path / "x.csv", FILES["jailbreakbench"])
    assert load_prompts(path, column="Behavior").prompts[0].text == "Pony song"


MANY = [(n, {"prompt": f"question {n}"}) for n in range(60)]


@given(st.permutations(MANY), st.integers(1, 59), st.integers(0, 3))
def test_a_sample_depends_on_the_seed_and_not_on_the_order(rows, limit, seed):
    def sample(rows, seed):
        shape = replace(HARMBENCH, name="", text="prompt", id="", category="", context="")
        return read_rows(rows, shape, Origin("x", "", ""), Selection("harmful", limit, seed)).prompts

    texts = {p.text for p in sample(MANY, seed)}
    assert len(texts) == limit
    assert {p.text for p in sample(rows, seed)} == texts
    kept = [p.text for p in sample(rows, seed)]
    assert kept == [row["prompt"] for _, row in rows if row["prompt"] in texts]


def test_another_seed_samples_others(tmp_path):
    path = write(tmp_path / "x.csv", [row for _, row in MANY])
    first, second = (load_prompts(path, limit=20, seed=seed) for seed in (0, 1))
    assert set(first.prompts) != set(second.prompts)
    assert first.provenance.dropped == {"past the limit": 40}
    assert first.provenance.sha256 == second.provenance.sha256


def test_what_an_earlier_set_asks_is_not_asked_again(tmp_path):
    one = load_prompts(write(tmp_path / "a.csv", [{"prompt": "One?"}, {"prompt": "Two?"}]))
    two = load_prompts(write(tmp_path / "b.csv", [{"prompt": "two"}, {"prompt": "Three?"}]))
    first, second = combine([one, two])
    assert first == one
    assert [p.text for p in second.prompts] == ["Three?"]
    assert second.provenance.dropped == {"in an earlier set": 1}
    assert second.provenance.rows == second.provenance.kept + 1


# --- by name


def test_unknown_names_and_an_absent_hub_say_what_to_do(monkeypatch):
    with pytest.raises(DataError, match="did you mean xstest"):
        load_set("xtest")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as caught:
        load_set("advbench@0123abc")
    said = str(caught.value)
    assert "--prompts FILE with the columns prompt, target" in said
    assert "gated" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["xstest", "jailbreakbench-benign"])
def test_a_set_is_read_through_datasets(monkeypatch, tmp_path, name):
    # `datasets` reads a folder as it reads the hub: the real loader on files of ours
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "train.csv", FILES[SETS[name].shape.name])
    info = replace(SETS[name], hub=str(tmp_path / "set"), config=None, split="train")
    one = load_info(name, info, None, None, 0)
    expected = {"xstest": ["borderline", "harmful"], "jailbreakbench-benign": ["benign"]}[name]
    assert [p.kind for p in one.prompts] == expected
    assert one.provenance.revision is None
    assert one.provenance.source == f"{tmp_path / 'set'}, train"
    assert len(one.provenance.sha256) == 64
    assert load_info(name, info, None, 1, 0).provenance.kept == 1


def test_one_column_or_kind_for_all_or_one_each(tmp_path):
    a, b = (str(write(tmp_path / f"{n}.csv", [{"say": f"{n}!", "ask": f"{n}?"}])) for n in "ab")

    def texts(**more) -> list[Prompt]:
        return [p for one in PromptSources((a, b), **more).load(0) for p in one.prompts]

    assert [p.text for p in texts(columns=("say",))] == ["a!", "b!"]
    mixed = texts(columns=("say", "ask"), kinds=("harmful", "benign"))
    assert [(p.text, p.kind) for p in mixed] == [("a!", "harmful"), ("b?", "benign")]
    with pytest.raises(ConfigError, match="3 times --kind and 2 times --prompts"):
        texts(columns=("say",), kinds=("task",) * 3)


def test_options_with_nothing_to_act_on_are_refused():
    for more in ({"columns": ("say",)}, {"kinds": ("benign",)}):
        with pytest.raises(ConfigError, match="without a file"):
            PromptSources(("xstest",), **more)
    PromptSources(("xstest", "mine.csv"), kinds=("benign",))


def test_the_documented_sets_are_those_of_the_table():
    text = (Path(__file__).parents[1] / "docs" / "prompts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+?)(?:, gated)? \| (\w+) \| (\w+) \|", text, re.MULTILINE)
    kinds = {"xstest": "both"}
    assert rows == [
        (
            name,
            " ".join(filter(None, (info.hub, info.config))),
            info.split,
            kinds.get(name, info.kind),
        )
        for name, info in SETS.items()
    ]
