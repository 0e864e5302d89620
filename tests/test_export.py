"""What `sirl export` publishes: the same replies, a card of what was measured, and nothing by halves."""

from __future__ import annotations

import re
from dataclasses import asdict, replace

import pytest
from commands import sirl
from conftest import attempts
from fakes import study
from peft import LoraConfig, get_peft_model
from small_training import CONFIG, PROMPTS, changed, same, toy_lm, weights

from sirl import metrics
from sirl.config import TrainConfig
from sirl.errors import DataError, RunError
from sirl.evaluation import evaluate, summarise
from sirl.generation import generate
from sirl.judges.identity import judge_name
from sirl.lm import fingerprint, load_lm, save_lm
from sirl.records import Decoding
from sirl.reporting.wording import share
from sirl.rundir import open_run, read_run
from sirl.training import harden, plainly
from sirl.training.isolation import quiet
from sirl.workflows.exporting import export

SOURCE = {
    "source": "PKU-Alignment/PKU-SafeRLHF",
    "set": "pku-saferlhf",
    "revision": "abc1234",
    "sha256": "0123456789abcdef",
    "rows": 20,
    "kinds": {"harmful": 6},
    "dropped": {},
}
INSTINCT = {
    "difference": 0.4321,
    "low": 0.4,
    "high": 0.5,
    "auroc": 0.91,
    "n_refused": 11,
    "n_complied": 12,
    "n_requests": 13,
    "verdict": "present: it is surer when it refuses.",
    "forced": False,
}


def train(folder, **changes):
    """Train the toy as `sirl train` would leave it; return the run's folder."""
    config = replace(CONFIG, steps=2, snapshots=(1,), **changes)
    settings = {"model": "maker/start-1b", "seed": 5, "train": asdict(config), "prompts": [SOURCE]}
    run = open_run(folder, "train", settings, {})
    harden(toy_lm(), [plainly(p) for p in PROMPTS], config, run, 0)
    stopped = "7.0% of the probes that the base model answers are refused, budget 5.0%"
    run.write_summary({"stopped": stopped, "kept_step": 2, "steps": 2, "instinct": INSTINCT})
    return folder


def measure(folder, hashes, **config):
    """Write a finished evaluate run of the fake model, under the hash of another one's weights."""
    trial = study(attacks=("direct", "aim", "past_tense_rules"))
    told = {"model": "m", "seed": 0, "dtype": "float32", "seen_in_training": ["past_tense_rules"]}
    kappas = {"harmful": [{"kappa": 0.5, "low": 0.4, "high": 0.6, "n": 300, "set": "labelled", "seen": False}]}
    told["agreement"] = {"harmful": {judge_name(trial.judges["harmful"]).split("@")[0]: kappas["harmful"]}}
    run = open_run(folder, "evaluate", {**told, "settings": asdict(trial.config), **config}, hashes)
    records = evaluate(trial, run)
    run.write_summary({**summarise(records), "judges_kappa": {"harmful": 0.66}, "incomplete": True})
    return folder


@pytest.fixture(scope="module", params=[0, 4], ids=["full", "LoRA"])
def trained(request, tmp_path_factory):
    return train(tmp_path_factory.mktemp("export") / "run", lora_rank=request.param, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def replies(folder):
    asked = attempts(["how?", "x how?", "why?"])
    return [
        c.token_ids for c in generate(load_lm(folder), asked, Decoding(temperature=0.0, max_new_tokens=12), 0)
    ]


def told(out) -> str:
    """Return the card, its line breaks and hard spaces as spaces."""
    return " ".join((out / "README.md").read_text(encoding="utf-8").split())


# --- the model


def test_the_exported_model_replies_as_the_runs(trained, tmp_path):
    out = export(str(trained), tmp_path / "out")
    assert replies(out) == replies(trained / "model")
    assert same(weights(load_lm(out)), weights(load_lm(trained / "model")))
    assert not same(weights(load_lm(out)), weights(toy_lm()))
    files = {p.name for p in out.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md"} < files
    assert "chat_template.jinja" in files
    assert not any(name.startswith("adapter") for name in files)


def test_a_snapshot_and_the_models_own_folder_are_exported_with_their_run(trained, tmp_path):
    out = export(str(trained / "snapshots" / "1"), tmp_path / "one")
    assert same(weights(load_lm(out)), weights(load_lm(trained / "snapshots" / "1")))
    assert "this is the model after step 1." in told(out)
    assert told(export(str(trained / "model"), tmp_path / "two")) == told(
        export(str(trained), tmp_path / "three")
    )


def test_an_adapter_is_merged_into_its_base(tmp_path):
    lm = toy_lm()
    save_lm(lm, tmp_path / "base")
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    with quiet():
        adapted = get_peft_model(load_lm(tmp_path / "base").model, lora)
    adapted.save_pretrained(tmp_path / "adapter")
    out = export(str(tmp_path / "adapter"), tmp_path / "out")
    assert same(weights(load_lm(out)), dict(adapted.merge_and_unload().state_dict()))
    assert not same(weights(load_lm(out)), weights(lm))
    assert "No training run of sirl is known." in told(out)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_keep_their_precision(tmp_path, dtype):
    save_lm(toy_lm(), tmp_path / "whole")
    save_lm(load_lm(tmp_path / "whole", dtype=dtype), tmp_path / "model")
    (tmp_path / "model" / "LICENSE.txt").write_text("As you like.")
    out = export(str(tmp_path / "model"), tmp_path / "out")
    assert (out / "LICENSE.txt").read_text() == "As you like."
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "model" / "model.safetensors").read_bytes()
    assert f"Weights in {dtype}" in told(out)


# --- the card


def test_the_card_tells_what_was_trained(trained, tmp_path):
    out = export(str(trained), tmp_path / "out")
    card, text = told(out), (out / "README.md").read_text()
    assert text.startswith("---\nbase_model: maker/start-1b\nlibrary_name: transformers\n")
    assert "# maker/start-1b, hardened by SIRL" in card
    lora = "lora" in str(read_run(trained).config["train"]) and read_run(trained).config["train"]["lora_rank"]
    assert ("LoRA of rank 4; seed 5." if lora else "every weight; seed 5.") in card
    assert "2 of at most 2, 4 prompts each; stopped because 7.0% of the probes" in card
    assert "this is the model after step 2." in card
    assert "present: it is surer when it refuses (complying minus refusing replies 0.432 nats" in card
    assert "interval 0.400 to 0.500, AUROC 0.91, 11 refusing and 12 complying replies to 13 requests)" in card
    assert "Attacks met in training: none." in card
    assert "| `prompts_per_step` | 4 | 512 |" in card
    assert "`kl`" not in card  # as in the paper
    assert "| PKU-Alignment/PKU-SafeRLHF | pku-saferlhf | abc1234 | 0123456789ab | 6 harmful |" in card
    assert "Not evaluated." in card


def test_the_card_names_the_attacks_of_training_and_what_was_held_out(tmp_path):
    settings = changed(
        TrainConfig(disguises=("ica", "past_tense"), disguised=0.25),
        gate={"kind": "start"},
        search={"attacks": ["pair"]},
    )
    run = open_run(
        tmp_path / "run",
        "train",
        {"model": "maker/m", "seed": 0, "train": asdict(settings), "prompts": [], "held_out": [SOURCE]},
        {},
    )
    save_lm(toy_lm(), run.path / "model")
    card = told(export(str(run.path), tmp_path / "out"))
    assert (
        "25 % of the prompts came under `ica`, `past_tense`; `pair` searched against the moving model" in card
    )
    assert "Held out: no prompt like one of these was trained on." in card
    assert "which step was kept is not known" in card
    assert "Instinct of the base, measured before training: not measured." in card
    assert "Prompts: not recorded." in card


def test_the_card_holds_the_measured_numbers(trained, tmp_path):
    before = measure(tmp_path / "before", {"weights": "another"})
    after = measure(tmp_path / "after", {"weights": fingerprint(load_lm(trained / "model"))["weights"]})
    card = told(export(str(trained), tmp_path / "out", [before, after]))
    records = read_run(after).records()
    plain = [r for r in records if not (r.prompt.category == "open" and r.attempt.sample)]
    table = metrics.dsr_table(plain)
    for row in (table, *table["per_attack"].values(), metrics.over_refusal(plain)["benign"]):
        assert f"{' '.join(share(row).split())}, n = {row['n']}" in card
    assert "| measured | before | after |" in card
    assert re.search(r"\| `past_tense_rules` \| yes \|", card)
    assert re.search(r"\| `aim` \| no \|", card)
    assert re.search(r"\| `direct` \(no attack\) \| no \|", card)
    assert "math tasks right" in card
    assert "code tasks right" not in card  # none was asked
    assert "Agreement of the judges that voted on *harmful?* (Fleiss): 0.66." in card
    assert "kappa 0.50 [0.40, 0.60], n = 300, labelled" in card
    assert "Incomplete" in card
    assert f"Without a verdict: {metrics.unscored(plain)['no_verdict']} of {len(plain)} records" in card
    assert "weights `another`" in card


def test_one_evaluation_in_another_precision_is_known_to_be_of_these_weights(trained, tmp_path):
    rounded = fingerprint(load_lm(trained / "model", dtype="bfloat16"))["weights"]
    run = measure(tmp_path / "run", {"weights": rounded}, dtype="bfloat16")
    assert "| measured | measured |" in told(export(str(trained), tmp_path / "out", [run]))


def test_the_same_run_gives_the_same_card(trained, tmp_path):
    cards = [told(export(str(trained), tmp_path / name)) for name in ("one", "two")]
    assert cards[0] == cards[1]
    assert str(tmp_path) not in cards[0]


# --- what goes wrong


def test_an_evaluation_of_other_weights_is_refused(trained, tmp_path):
    run = measure(tmp_path / "run", {"weights": "another"})
    with pytest.raises(RunError, match=r"measured other weights \(another\)"):
        export(str(trained), tmp_path / "out", [run])
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_no_finished_evaluation_is_refused(trained, tmp_path):
    with pytest.raises(RunError, match="is a run of kind train"):
        export(str(trained), tmp_path / "out", [trained])
    run = measure(tmp_path / "run", {})
    (run / "summary.json").unlink()
    with pytest.raises(RunError, match="has not finished"):
        export(str(trained), tmp_path / "out", [run])


def test_a_kill_leaves_nothing_and_the_next_try_all(trained, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(str(trained), out)
    assert not out.exists()
    out.mkdir()  # an empty folder will do
    export(str(trained), out)
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_a_folder_in_use_and_a_model_that_is_not_there_are_refused(trained, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        export(str(trained), tmp_path / "used")
    with pytest.raises(DataError, match="no model in"):
        export(str(tmp_path / "used"), tmp_path / "out")
    open_run(tmp_path / "early", "train", {"model": "m", "seed": 0}, {})
    with pytest.raises(DataError, match="has no model yet"):
        export(str(tmp_path / "early"), tmp_path / "out")


def test_the_command_says_where_the_model_is_and_refuses_in_one_sentence(trained, tmp_path):
    code, out, err = sirl("export", trained, "--out", tmp_path / "out")
    assert (code, out.strip()) == (0, f"wrote {tmp_path / 'out'}")
    assert "no licence file in" in err
    code, out, err = sirl("export", trained, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_what_the_commands_leave_is_what_the_card_is_made_from(tmp_path):
    save_lm(toy_lm(), tmp_path / "start")
    (tmp_path / "start" / "LICENSE").write_text("As you like.")
    asked = tmp_path / "mine.csv"
    asked.write_text("prompt,kind\nhow do I blorch?,harmful\nhow do I brush?,benign\n")
    settings = {"steps": 1, "prompts_per_step": 2, "group": 2, "micro_batch": 4, "max_reply_tokens": 4}
    small = [word for name, value in settings.items() for word in ("--set", f"train.{name}={value}")]
    measure_small = ("--set", "evaluate.max_reply_tokens=4", "--set", "evaluate.max_unscored=1")
    run = tmp_path / "run"
    assert (
        sirl(
            "train",
            tmp_path / "start",
            "--prompts",
            asked,
            "--recipe",
            "paper",
            "--out",
            run,
            "--force",
            *small,
        )[0]
        == 0
    )
    for model, out in ((tmp_path / "start", "before"), (run, "after")):
        words = ("--prompts", asked, "--attacks", "aim", "--out", tmp_path / out, *measure_small)
        assert sirl("evaluate", model, *words)[0] == 0
    both = ("--evaluation", tmp_path / "before", "--evaluation", tmp_path / "after")
    code, _, err = sirl("export", run, "--out", tmp_path / "out", *both)
    assert (code, err) == (0, "")
    assert (tmp_path / "out" / "LICENSE").read_text() == "As you like."
    card = told(tmp_path / "out")
    assert "# start, hardened by SIRL" in card
    assert "base_model" not in card
    assert "1 of at most 1, 2 prompts each; no budget stopped it; this is the model after step 1." in card
    assert "| mine.csv | – | – |" in card
    assert "Instinct of the base, measured before training: unknown" in card
    assert re.search(r"\| `aim` \| no \| .*n = \d", card)
    assert str(tmp_path) not in card
