"""The command line as a user meets it: help, the table of attacks, one sentence for each slip, exit codes."""

from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from commands import sirl
from conftest import random_lm

from sirl.attacks import ATTACKS
from sirl.cli.endings import LESS_SAFE, end_demo
from sirl.lm import save_lm
from sirl.rundir import open_run

COMMANDS = {
    (): (
        "demo",
        "gap",
        "train",
        "evaluate",
        "merge",
        "report",
        "plan",
        "export",
        "attacks",
        "organism",
        "judge",
    ),
    ("demo",): (
        *("--out", "--model", "--prompts", "--kind", "--train-prompts", "--quick", "--force"),
        *("--arch", "--seed", "--recipe", "--set"),
    ),
    ("gap",): ("MODEL", "--out", "--prompts", "--attacks", "--judge", "--seed", "--recipe", "--set"),
    ("train",): ("MODEL", "--out", "--prompts", "--seed", "--recipe", "--set", "--force", "--held-out"),
    ("evaluate",): (
        *("MODEL", "--out", "--prompts", "--attacks", "--judge", "--seed", "--recipe", "--set"),
        *(
            "--attack-prompts",
            "--columns",
            "--request-column",
            "--phrase-book",
            "--demonstrations",
            "--shard",
            "--quick",
        ),
    ),
    ("merge",): ("SHARDS", "--out"),
    ("report",): ("RUNS", "--out"),
    ("plan",): (
        "MODEL",
        "--recipe",
        "--gpus",
        "--device",
        "--memory",
        "--prompt-tokens",
        "--reply-tokens",
        "--set",
    ),
    ("export",): ("MODEL", "--out", "--evaluation", "--trust-remote-code"),
    ("attacks",): ("check", "demonstrate", "export"),
    ("attacks", "check"): ("NAMES",),
    ("attacks", "export"): ("RUN", "--attack", "--out", "--wide"),
    ("organism",): ("build",),
    ("judge",): ("check", "run"),
    ("judge", "check"): (
        "LABELS",
        "--response-column",
        "--label-column",
        "--request-column",
        "--positive",
        "--judge",
    ),
    ("judge", "run"): ("RUN", "--out", "--judge"),
    ("organism", "build"): ("--out", "--arch", "--seed"),
}
PROMPTS = "prompt,kind\nhow do I blorch?,harmful\nhow do I brush?,benign\n"
SMALL = (
    *("--set", "gap.max_reply_tokens=4", "--set", "evaluate.max_reply_tokens=4", "--set", "train.steps=1"),
    *("--set", "train.prompts_per_step=2", "--set", "train.micro_batch=4"),
    *("--set", "train.max_reply_tokens=4"),
    *(
        "--set",
        "train.gate.kind=none",
        "--set",
        "train.search.attacks=[]",
    ),  # random numbers have no conduct to carry over
    *("--set", "gap.max_unscored=1", "--set", "evaluate.max_unscored=1"),  # a random model writes gibberish
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "model"
    save_lm(random_lm("llama"), folder)
    return folder


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(PROMPTS)
    return path


def refused(result) -> str:
    """Return the one sentence with which a command ended."""
    code, out, err = result
    assert code == 2
    assert out == ""
    lines = [line for line in err.strip().splitlines() if not line.startswith("skipped: ")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert lines[0].count("; ") >= 2
    assert lines[0].endswith(".")
    return lines[0]


# --- help


@pytest.mark.parametrize(("words", "named"), COMMANDS.items(), ids=lambda w: " ".join(w) or "sirl")
def test_help_names_what_can_be_said(monkeypatch, words, named):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = sirl(*words, "--help")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert (code, err) == (0, "")
    assert [name for name in named if name.lower() not in plain.lower()] == []


def test_no_words_at_all_show_the_help():
    code, out, err = sirl()
    assert code == 2
    assert "evaluate" in out + err


@pytest.mark.parametrize(
    "words",
    [("gap",), ("train", "x"), ("evaluate", "x", "--out", "o", "--seed", "-1"), ("report",), ("dance",)],
)
def test_missing_words_are_told_by_name(words):
    code, out, err = sirl(*words)
    assert (code, out) == (2, "")
    assert "Usage:" in err


@pytest.mark.parametrize("width", ["80", "200"])
def test_the_attacks_are_listed(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    code, out, _ = sirl("attacks")
    assert code == 0
    for name, info in ATTACKS.items():
        assert name in out
        assert info.kind in out
        assert info.source in out or width == "200"
    assert ("mechanism" in out) == (width == "200")


def test_an_attack_of_ones_own_is_checked(tmp_path, monkeypatch):
    (tmp_path / "own_attack.py").write_text(
        "from sirl.records import Attempt, Message\n"
        "def attack(prompts, target, budget, seed):\n"
        "    return [Attempt(p, 'x', (Message('user', p.text + '!'),)) for p in prompts]\n"
        "def mute(prompts, target, budget, seed):\n"
        "    return [Attempt(p, 'x', (Message('user', 'hello'),)) for p in prompts]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    code, out, _ = sirl("attacks", "check", "own_attack:attack", "rot13")
    assert code == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == ["own_attack", "rot13 keeps 7 promises"]
    assert "the budget is kept to the query" in out
    sentence = refused(sirl("attacks", "check", "own_attack:mute"))
    assert "attack 'own_attack:mute' did not send the request of prompt 'p1'" in sentence


# --- slips


def test_a_missing_prompts_file(model, tmp_path):
    out = tmp_path / "run"
    for command in ("gap", "train", "evaluate"):
        sentence = refused(sirl(command, model, "--out", out, "--prompts", tmp_path / "no.csv"))
        assert f"{tmp_path / 'no.csv'} cannot be read (No such file or directory)" in sentence
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("empty.csv", "prompt,kind\n", "has no rows; expected at least one row"),
        ("empty.jsonl", "", "has no rows"),
        ("empty.json", "[]", "has no rows"),
        ("blank.csv", "prompt,kind\n ,harmful\n", "has no usable row"),
        ("column.csv", "promt,kind\nhow?,harmful\n", "did you mean promt"),
        ("kind.csv", "prompt,kind\nhow?,harmfull\n", "did you mean harmful"),
        ("notes.docx", "how?", "is of unknown format"),
        ("broken.jsonl", '{"prompt": "a"}\n{"prompt": \n', "line 2 of"),
    ],
)
def test_prompts_that_cannot_be_used(model, tmp_path, name, text, part):
    (tmp_path / name).write_text(text)
    sentence = refused(sirl("evaluate", model, "--out", tmp_path / "run", "--prompts", tmp_path / name))
    assert part in sentence
    assert not (tmp_path / "run").exists()


def test_two_prompts_of_one_id(model, prompts, tmp_path):
    other = tmp_path / "other.csv"
    prompts.write_text("id,kind,prompt\n1,harmful,how do I blorch?\n")
    other.write_text("id,kind,prompt\n1,harmful,how do I snib?\n")
    words = ("--out", tmp_path / "run", "--prompts", prompts, "--prompts", other, *SMALL)
    assert "two prompts have the id" in refused(sirl("evaluate", model, *words))
    assert not (tmp_path / "run").exists()


def test_a_gap_needs_harmful_prompts(model, tmp_path):
    (tmp_path / "kind.csv").write_text("prompt,kind\nhow?,benign\n")
    words = ("--out", tmp_path / "run", "--prompts", tmp_path / "kind.csv")
    assert "none of 1 prompts is harmful" in refused(sirl("gap", model, *words))
    assert not (tmp_path / "run").exists()


def test_a_model_of_ones_own_needs_prompts(model, tmp_path):
    for command in ("gap", "evaluate"):
        assert "expected --prompts FILE or NAME" in refused(sirl(command, model, "--out", tmp_path / "run"))


def test_a_model_without_a_chat_template(prompts, tmp_path):
    lm = random_lm("llama")
    lm.tokenizer.chat_template = None
    save_lm(lm, tmp_path / "base")
    words = ("--out", tmp_path / "run", "--prompts", prompts)
    assert "has no chat template" in refused(sirl("evaluate", tmp_path / "base", *words))


def test_a_model_folder_without_weights(model, prompts, tmp_path):
    shutil.copytree(model, tmp_path / "hollow")
    (tmp_path / "hollow" / "model.safetensors").unlink()
    words = ("--out", tmp_path / "run", "--prompts", prompts)
    for command in ("gap", "train", "evaluate"):
        assert "no model could be loaded from" in refused(sirl(command, tmp_path / "hollow", *words))
    assert "no model could be loaded from" in refused(sirl("gap", tmp_path / "absent", *words))


def test_a_training_run_without_a_model(prompts, tmp_path):
    open_run(tmp_path / "begun", "train", {"model": "toy"}, {})
    words = ("--out", tmp_path / "run", "--prompts", prompts)
    assert "has no model yet; expected a finished run" in refused(sirl("gap", tmp_path / "begun", *words))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--attacks", "pasttense"), "did you mean past_tense"),
        (("--attacks", "aim,"), "unknown attack ''"),
        (("--attacks", "no_such_pkg:attack"), "cannot be imported"),
        (("--judge", "refusals"), "did you mean refusal"),
        (("--judge", "rude=no_such_pkg:judge"), "no judge answers 'rude'"),
        (("--set", "evaluate.temperature=9"), "temperature = 9; expected a number, 0 or more and at most 5"),
        (("--set", "evaluate.batch=0"), "batch = 0; expected a whole number, 1 or more"),
        (("--set", "evaluate.samples=3"), "1 at temperature 0: greedy replies do not differ"),
        (
            ("--set", "train.micro_batch=7", "--set", "train.method=sirl"),
            "a divisor of group x prompts_per_step",
        ),
        (("--set", "evaluate.smaples=3"), "did you mean samples"),
        (("--set", "evalaute.samples=3"), "did you mean evaluate"),
        (("--set", "samples"), "expected section.key=value"),
        (("--set", "model.dtype=float8"), "dtype 'float8'"),
        (("--set", "evaluate.batch=many"), "a whole number, 1 or more"),
        (("--set", "evaluate.system=absent.txt"), "system = 'absent.txt' cannot be read"),
        (("--shard", "2/2"), "i/n with i from 0 to n - 1"),
        (("--kind", "harmful", "--kind", "benign"), "2 times --kind and 1 times --prompts"),
        (("--column", "promt"), "did you mean prompt"),
        (("--recipe", "organsim"), "did you mean organism"),
        (("--recipe", "no/such.toml"), "a shipped recipe or a TOML file"),
    ],
)
def test_settings_that_cannot_be(model, prompts, tmp_path, words, part):
    sentence = refused(sirl("evaluate", model, "--out", tmp_path / "run", "--prompts", prompts, *words))
    assert part in sentence
    assert not (tmp_path / "run").exists()


def test_a_slip_in_the_settings_is_told_before_anything_is_loaded(tmp_path):
    words = ("--out", tmp_path / "run", "--set", "train.step=1")
    for command in ("gap", "train", "evaluate"):
        assert "did you mean steps" in refused(sirl(command, tmp_path / "absent", *words))
    assert "did you mean steps" in refused(sirl("demo", *words))


def test_an_unknown_reward(model, prompts, tmp_path):
    words = ("--out", tmp_path / "run", "--prompts", prompts, *SMALL, "--method", "sirl")
    words = (*words, "--set", "train.reward.kind=sril")
    assert "did you mean sirl" in refused(sirl("train", model, *words))
    assert not (tmp_path / "run").exists()


def test_prompts_that_are_all_too_long(model, prompts, tmp_path):
    words = ("--out", tmp_path / "run", "--prompts", prompts, *SMALL, "--set", "train.max_prompt_tokens=3")
    assert "none of 2 prompts has at most 3 tokens" in refused(sirl("train", model, *words))
    assert not (tmp_path / "run").exists()


def test_an_unknown_organism(tmp_path):
    for words in (("evaluate", "organism:lama"), ("gap", "organism:"), ("demo", "--arch", "lama")):
        assert "expected a shipped organism" in refused(sirl(*words, "--out", tmp_path / "run"))
    assert "did you mean llama" in refused(
        sirl("organism", "build", "--arch", "lama", "--out", tmp_path / "run")
    )
    assert not (tmp_path / "run").exists()


def test_an_organism_is_not_built_over_other_things(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert "is not empty; expected a new or empty folder" in refused(
        sirl("organism", "build", "--out", tmp_path)
    )
    (tmp_path / "file").write_text("mine")
    assert "name another --out" in refused(sirl("organism", "build", "--out", tmp_path / "file"))


# --- runs and the page


@pytest.fixture(scope="module")
def runs(model, tmp_path_factory):
    """One run of each kind on a model of random numbers, made by the command line."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "mine.csv").write_text(PROMPTS)
    for command in ("gap", "train", "evaluate"):
        # random numbers refuse nothing, which sirl train would not train on
        own = ("--force",) if command == "train" else ("--attacks", "direct,prefill")
        words = (command, model, "--out", folder / command, "--prompts", folder / "mine.csv")
        assert sirl(*words, *own, *SMALL)[0] == 0
    return folder


def test_the_page_is_made_from_run_folders_or_from_the_folder_of_them(runs, tmp_path):
    code, out, err = sirl("report", runs, "--out", tmp_path / "deep" / "page.html")
    assert (code, err) == (0, "")
    assert out.startswith(f"wrote {tmp_path / 'deep' / 'page.html'}: ")
    assert "withheld" in out
    code, _, err = sirl("report", runs, "--transcripts", "some", "--out", tmp_path / "none.html")
    assert (code, "transcripts 'some'; expected none or redacted or all" in err) == (2, True)
    page = (tmp_path / "deep" / "page.html").read_text()
    assert page.lstrip().startswith("<!doctype html>")
    sirl("report", *(runs / kind for kind in ("gap", "train", "evaluate")), "--out", tmp_path / "same.html")
    assert (tmp_path / "same.html").read_text() == page


def test_a_model_beside_the_runs_is_no_run(model, runs, tmp_path):
    shutil.copytree(model, tmp_path / "all" / "model")
    shutil.copytree(runs / "gap", tmp_path / "all" / "gap")
    assert sirl("report", tmp_path / "all", "--out", tmp_path / "page.html")[0] == 0


def test_a_run_is_not_mixed_with_another_protocol(model, runs):
    words = ("--prompts", runs / "mine.csv", "--attacks", "direct,prefill", *SMALL)
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    cases = [
        (("evaluate", "--out", runs / "gap", *words), "kind = 'gap', not 'evaluate'"),
        (("evaluate", "--out", runs / "evaluate", *words, "--seed", 3), "seed = 0, not 3"),
        (("evaluate", "--out", runs / "evaluate", *words, "--set", "evaluate.batch=3"), "settings = "),
        (("train", "--out", runs / "train", "--prompts", runs / "mine.csv", "--force"), "train = "),
        (("evaluate", "--out", runs, *words), "is not empty and holds no run"),
        (("evaluate", "--out", runs / "mine.csv", *words), "is a file; expected a folder"),
    ]
    for (command, *rest), part in cases:
        assert part in refused(sirl(command, model, *rest))
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


def test_the_same_words_again_change_no_evidence(model, runs):
    before = (runs / "evaluate" / "records.jsonl").read_bytes()
    words = ("--out", runs / "evaluate", "--prompts", runs / "mine.csv", "--attacks", "direct,prefill", *SMALL)
    code, out, _ = sirl("evaluate", model, *words)
    assert code == 0
    assert (runs / "evaluate" / "records.jsonl").read_bytes() == before
    assert json.loads(out) == json.loads((runs / "evaluate" / "summary.json").read_text())


def test_shards_made_by_the_command_line_merge_into_the_single_run(model, runs, tmp_path):
    attacks = ("--prompts", runs / "mine.csv", "--attacks", "direct,prefill", *SMALL)
    for i in range(2):
        words = (model, "--out", tmp_path / f"s{i}", "--shard", f"{i}/2", *attacks)
        assert sirl("evaluate", *words)[0] == 0
    code, out, err = sirl("merge", tmp_path / "s1", tmp_path / "s0", "--out", tmp_path / "whole")
    assert (code, err) == (0, "")
    single = json.loads((runs / "evaluate" / "summary.json").read_text())
    assert json.loads(out) | {"seconds": 0} == single | {"seconds": 0}
    assert "is shard 0/2 of a run" in refused(sirl("report", tmp_path / "s0", "--out", tmp_path / "p.html"))
    again = sirl("merge", tmp_path / "s0", "--out", tmp_path / "w")
    assert "each of 0/2, 1/2 once" in refused(again)


def test_runs_of_two_protocols_are_compared_only_when_told_to(model, runs, tmp_path):
    words = ("--prompts", runs / "mine.csv", "--attacks", "direct,prefill", *SMALL)
    system = ("--set", "evaluate.system=Be kind.")
    assert sirl("evaluate", model, "--out", tmp_path / "after", *words, *system)[0] == 0
    page = tmp_path / "page.html"
    sentence = refused(sirl("report", runs / "evaluate", tmp_path / "after", "--out", page))
    assert "differ in system (the template's own and " in sentence
    allowed = ("report", runs / "evaluate", tmp_path / "after", "--out", page, "--allow-different-protocol")
    assert sirl(*allowed)[0] == 0
    assert "measured differently" in page.read_text()
    config = json.loads((tmp_path / "after" / "config.json").read_text())
    assert config["settings"]["system"] == "Be kind."
    (source,) = config["prompts"]
    assert (source["source"], source["rows"], source["kinds"]) == ("mine.csv", 2, {"benign": 1, "harmful": 1})


def test_a_page_about_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "page.html"
    for path in (tmp_path / "empty", tmp_path / "absent"):
        assert f"no run in {path}" in refused(sirl("report", path, "--out", out))
    assert not out.exists()


def test_a_page_cannot_be_a_folder(runs, tmp_path):
    assert "expected" in refused(sirl("report", runs, "--out", tmp_path))


def test_other_exceptions_are_ours_and_keep_their_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr("sirl.reporting.load_runs", lambda paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sirl("report", tmp_path)


# --- the demo on a model of the user's


DEMO = (
    *("--set", "gap.max_reply_tokens=4", "--set", "evaluate.max_reply_tokens=4", "--set", "train.steps=1"),
    *(
        "--set",
        "train.prompts_per_step=2",
        "--set",
        "train.max_reply_tokens=4",
        "--set",
        "train.gate.kind=none",
    ),
    *("--set", "gap.max_unscored=1", "--set", "evaluate.max_unscored=1"),  # a random model writes gibberish
)


def demo(model, folder, *words):
    return sirl("demo", "--model", model, "--out", folder / "demo", *words)


def test_a_demo_says_which_prompts_it_needs_before_it_opens_the_model(tmp_path):
    absent = tmp_path / "absent"
    assert "--prompts jailbreakbench" in refused(demo(absent, tmp_path))
    (tmp_path / "safe.csv").write_text("prompt,kind\nhow do I brush?,benign\n")
    assert "only benign requests" in refused(demo(absent, tmp_path, "--prompts", tmp_path / "safe.csv"))
    embedded = sirl("demo", "--out", tmp_path / "demo", "--prompts", tmp_path / "safe.csv")
    assert "the embedded model has its own prompts" in refused(embedded)
    assert not (tmp_path / "demo").exists()


def test_a_demo_refuses_a_model_without_an_instinct_and_else_ends_with_a_verdict(model, prompts, tmp_path):
    stream = tmp_path / "stream.csv"
    stream.write_text("prompt\n" + "".join(f"how do I knit a scarf of {n} rows?\n" for n in range(4)))
    words = ("--prompts", prompts, "--train-prompts", stream, "--quick", *DEMO)
    code, out, err = sirl("demo", "--model", model, "--out", tmp_path / "demo", *words)
    assert (code, out) == (2, "")
    assert "will not work on" in err
    assert "--force" in err
    assert not (tmp_path / "demo").exists()
    code, out, err = sirl("demo", "--model", model, "--out", tmp_path / "demo", *words, "--force")
    assert code == 0, err
    sentence = json.loads((tmp_path / "demo" / "summary.json").read_text())["verdict"]
    assert sentence in out
    assert f">{sentence}</h1>" in (tmp_path / "demo" / "report.html").read_text()
    assert "knit" not in (tmp_path / "demo" / "before" / "records.jsonl").read_text()


def test_a_demo_that_made_the_model_less_safe_ends_with_its_own_code(capsys):
    shares = dict.fromkeys(("mean", "worst", "benign", "borderline", "math", "code", "chat"))
    told = {name: {"before": shares, "after": shares} for name in ("dsr", "over_refusal", "capability")}
    told |= {"gap": {"difference": None, "auroc": None}, "verdict": "Nothing is known."}
    told |= {"seconds": {"total": 240.0, "product": 0.003}}
    end_demo({**told, "less_safe": None}, Path("demo"))
    assert "took 4.0 minutes, as long as 80,000 products" in capsys.readouterr().out
    with pytest.raises(typer.Exit) as end:
        end_demo({**told, "less_safe": "less safe than the base: 9 are no longer refused"}, Path("demo"))
    assert (end.value.exit_code, capsys.readouterr().err.count("9 are no longer refused")) == (LESS_SAFE, 1)


def test_the_version_is_told():
    assert sirl("--version") == (0, f"sirl {version('sirl')}\n", "")
