"""What training may not ask because it will be measured: the rule by hand, the index, the command."""

from __future__ import annotations

import json
from random import Random

import pytest
from commands import sirl
from conftest import random_lm

from sirl.config import TrainConfig
from sirl.lm import save_lm
from sirl.organism.corpus import evaluation_prompts
from sirl.organism.stream import hardening_attempts
from sirl.prompts import PromptSet, load_prompts, removed, sample, without_held_out
from sirl.prompts.contamination import index, match, wording
from sirl.prompts.rows import Provenance
from sirl.records import Prompt
from sirl.workflows import sources
from sirl.workflows.measure import SIZES

LONG = "draw a map of the old harbour with its seven bridges and both lighthouses"


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("How do I make a kite?", "  how do I  make a KITE ", "word for word"),
        ("How do I make a kite?", "Explain the best way to make a kite.", "nearly"),  # make, kite: 2/2
        ("How do I make a kite?", "How do I make a boat?", None),  # 1/3
        ("How do I make a kite?", "How do I make a red kite?", None),  # 2/3
        ("red silk kite, long blue tail", "red silk kite, long blue", "nearly"),  # 5/6
        ("red silk kite, long blue", "red silk kite, long", None),  # 4/5 is not more than 4/5
        ("red silk kite, long blue tail", "long blue tail red silk kite", "nearly"),  # order is no matter
        ("What is 3 + 4?", "What is 3 * 4?", None),  # signs count: 2/4
        ("What is 3 + 4?", "What is 3 - 4?", None),
        ("a well-known kite", "a well known kite", "nearly"),  # a hyphen is no minus
        ("don't fly the kite", "don’t fly that kite", "nearly"),  # either apostrophe
        (LONG, f"You are a poet and a pirate. In rhyme and slang, {LONG}, and never stop to breathe", "nearly"),
        (LONG, f"You are a poet. In rhyme, {LONG.replace('bridges', 'towers')}, and never stop", None),
        ("the of and", "who was it", None),  # function words only: nothing that could be alike
    ],
)
def test_the_rule_by_hand(one, other, found):
    assert match(wording(one), wording(other)) == found
    assert match(wording(other), wording(one)) == found


def test_a_short_text_inside_a_long_one_is_no_quotation():
    short = "fly the big red kite"  # one run of five words, not four
    assert match(wording(short), wording(f"Tell me how you would {short} in a storm at sea by night")) is None


def test_the_index_finds_what_comparing_every_pair_finds():
    rng = Random(0)
    words = [f"w{i}" for i in range(14)] + ["how", "do", "i", "the"]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(500)]
    texts += [f"{rng.choice(texts)} {rng.choice(texts)}" for _ in range(100)]
    held_out, asked_ = texts[::2], texts[1::2]
    known = index(("set", text) for text in held_out)
    words_of = [wording(text) for text in held_out]
    hits = 0
    for text in asked_:
        every = {match(wording(text), other) for other in words_of} - {None}
        best = "word for word" if "word for word" in every else "nearly" if every else None
        assert known.find(text) == (("set", best) if best else None)
        hits += bool(every)
    assert 50 < hits < len(asked_) - 50


def a_set(name: str, *texts: str) -> PromptSet:
    prompts = tuple(Prompt(f"{name}{i}", text, "harmful") for i, text in enumerate(texts))
    size = len(prompts)
    return PromptSet(prompts, Provenance(name, "", None, "", "", "", size, size, {"harmful": size}, {}))


def test_what_is_removed_is_counted_by_set_and_nearness():
    mine = a_set("mine", "make a kite", "fly a kite", "how to sail a boat", "paint a wall")
    more = a_set("more", "sell a drum")
    held_out = [
        a_set("first", "Make a kite!", "explain how to sail a boat"),
        a_set("second", "make a kite", "FLY a kite"),
    ]
    one, other = without_held_out([mine, more], held_out)
    assert [p.text for p in one.prompts] == ["paint a wall"]
    assert other == more
    assert one.provenance.dropped == {
        "held out in first, word for word": 1,
        "held out in first, nearly": 1,
        "held out in second, word for word": 1,
    }
    assert (one.provenance.kept, one.provenance.kinds) == (1, {"harmful": 1})
    assert one.provenance.rows == one.provenance.kept + sum(one.provenance.dropped.values())
    assert removed([one, other], held_out) == {
        "first": {"word for word": 1, "nearly": 1},
        "second": {"word for word": 1, "nearly": 0},
    }
    assert without_held_out([mine, more], []) == [mine, more]


def test_a_sample_counts_what_it_leaves_out():
    one = a_set("mine", *(f"text {i}" for i in range(9)))
    few = sample(one, 4, 0)
    assert (few.provenance.kept, few.provenance.dropped) == (4, {"past the limit": 5})
    assert set(few.prompts) < set(one.prompts)
    assert sample(one, None, 0) is one


@pytest.mark.parametrize("seed", [0, 1])
def test_the_organism_hardens_on_no_request_that_it_is_measured_on_but_for_tasks(seed):
    every = dict.fromkeys(SIZES, 10**6)
    known = index((prompt.kind, prompt.text) for prompt in evaluation_prompts(every, seed))
    found = [known.find(attempt.prompt.text) for attempt in hardening_attempts(1440, seed)]
    # sums, programs and small talk are few: those trained on and those measured are the same
    assert {hit for hit in found if hit} == {("task", "word for word")}
    assert 0.25 < sum(hit is not None for hit in found) / len(found) < 0.35


# --- the command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held_out") / "model"
    save_lm(random_lm("llama"), folder)
    return folder


SMALL = (
    *("--set", "gap.max_reply_tokens=4", "--set", "train.steps=1", "--set", "train.prompts_per_step=2"),
    *("--set", "train.micro_batch=4", "--set", "train.max_reply_tokens=4"),
    *(
        "--set",
        "train.gate.kind=none",
        "--set",
        "train.search.attacks=[]",
    ),  # random numbers have no conduct to carry over
)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that has PKU-SafeRLHF, in five lines of ours; remembers who asked for what."""
    path, loaded = tmp_path / "pku.jsonl", []
    texts = ["How do I make a kite?", "Sail a boat", "Paint the wall", "Beat a drum", "Bake some bread"]
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))

    def load_set(spec, *, limit, seed):
        loaded.append(spec)
        return load_prompts(path, limit=limit, seed=seed)

    monkeypatch.setattr(sources, "load_set", load_set)
    return loaded


def trained(model, out, *words) -> tuple[dict, dict]:
    """Train by the command line; return the run's config and its summary."""
    code, printed, err = sirl("train", model, "--out", out, "--force", *SMALL, *words)
    assert code == 0, err
    return json.loads((out / "config.json").read_text()), json.loads(printed)


def test_a_real_model_trains_on_the_papers_prompts_without_what_is_held_out(model, hub, tmp_path):
    (tmp_path / "mine.csv").write_text("prompt\nExplain how you would make a kite.\nsail a boat!\n")
    config, summary = trained(model, tmp_path / "run", "--held-out", tmp_path / "mine.csv")
    assert hub == ["pku-saferlhf"]
    assert (config["train"]["prompts"], config["train"]["limit"]) == (["pku-saferlhf"], 15_000)
    assert config["train"]["held_out"] == [str(tmp_path / "mine.csv")]
    assert [source["source"] for source in config["held_out"]] == ["mine.csv"]
    (source,) = config["prompts"]
    assert source["kept"] == 3
    assert source["dropped"] == {"held out in mine.csv, word for word": 1, "held out in mine.csv, nearly": 1}
    assert summary["held_out"] == {"mine.csv": {"word for word": 1, "nearly": 1}}


def test_the_words_of_the_command_win_and_the_limit_counts_what_is_left(model, hub, tmp_path):
    (tmp_path / "own.csv").write_text("prompt\nmake a kite\nfly it\nsew the tail\n")
    (tmp_path / "out.csv").write_text("prompt\nmake a kite\n")
    config, _ = trained(model, tmp_path / "a", "--limit", 2, "--set", f"train.held_out={tmp_path / 'out.csv'}")
    assert config["train"]["limit"] == 2
    assert config["prompts"][0]["kept"] == 2
    assert config["prompts"][0]["dropped"]["past the limit"] == 2  # of four that are not held out
    config, _ = trained(model, tmp_path / "b", "--prompts", tmp_path / "own.csv", "--set", "train.limit=2")
    assert hub == ["pku-saferlhf"]
    assert config["train"]["prompts"] == [str(tmp_path / "own.csv")]
    assert config["prompts"][0]["kept"] == 2


def test_nothing_left_to_train_on_is_told(model, tmp_path):
    (tmp_path / "own.csv").write_text("prompt\nmake a kite\n")
    words = ("--prompts", tmp_path / "own.csv", "--held-out", tmp_path / "own.csv", *SMALL)
    code, out, err = sirl("train", model, "--out", tmp_path / "run", *words)
    assert (code, out) == (2, "")
    assert "all training prompts overlap --held-out" in err
    assert not (tmp_path / "run").exists()


def test_an_organism_keeps_its_own_stream_unless_prompts_are_named(hub, tmp_path):
    (tmp_path / "out.csv").write_text("prompt\nhow are you?\n")
    config, summary = trained("organism:llama", tmp_path / "run", "--held-out", tmp_path / "out.csv")
    assert hub == []
    assert config["train"]["prompts"] == []
    assert config["prompts"][0]["source"] == "made by the organism's world"
    assert summary["held_out"]["out.csv"].keys() == {"word for word", "nearly"}
    config, _ = trained("organism:llama", tmp_path / "named", "--prompts", "pku-saferlhf")
    assert hub == ["pku-saferlhf"]
    assert config["train"]["prompts"] == ["pku-saferlhf"]
    for words in (("--limit", 5), ("--set", "train.limit=5")):
        code, _, err = sirl("train", "organism:llama", "--out", tmp_path / "no", *words)
        assert code == 2
        assert "--limit without --prompts" in err


def test_the_default_is_the_papers():
    assert (TrainConfig().prompts, TrainConfig().limit) == (("pku-saferlhf",), 15_000)
