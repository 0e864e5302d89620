from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError, asdict, replace
from operator import attrgetter

import pytest

from sirl.attacks import ATTACKS
from sirl.config import (
    RECIPES,
    EvaluateConfig,
    ModelConfig,
    Recipe,
    TrainConfig,
    load_recipe,
    read_recipe,
    system_text,
)
from sirl.config.before import MOVED
from sirl.config.sections import unusual
from sirl.config.train import GateConfig, GrpoConfig, StopConfig
from sirl.errors import ConfigError

PAPER = {  # arXiv 2510.01088, settings of training
    "reward.kind": "sirl",
    "steps": 30,
    "group": 4,
    "temperature": 1.0,
    "max_prompt_tokens": 1024,
    "max_reply_tokens": 3072,
    "learning_rate": 1e-6,
    "grpo.kl": 0.001,
    "grpo.clip": 0.2,
    "lora_rank": 0,
}


def refused(changes, recipe="paper") -> str:
    """Return the sentence with which the settings are refused."""
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe, [changes] if isinstance(changes, str) else changes)
    return str(error.value)


# --- what a file asks for


def test_what_a_file_asks_for_is_told_before_it_is_obeyed(tmp_path, caplog):
    file = tmp_path / "theirs.toml"
    file.write_text(
        """base = "organism"
        [model]
        trust_remote_code = true
        trusted_code = ["org/judge"]
        key_host = "h.org"
        extra_headers = {x-id = "$MY_TOKEN"}
        [train]
        search.attacker = "https://me:pw@h.org/v1#m"
        [evaluate]
        attacks = ["static", "mine.own:attack"]
        """
    )
    load_recipe(str(file))
    told = [line.partition(" asks for ")[2] for line in caplog.messages]
    assert [line.partition(":")[0] for line in told] == [
        "model.trust_remote_code = True",
        "model.trusted_code = ['org/judge']",
        "model.key_host = h.org",
        "model.extra_headers",
        "train.search.attacker = https",
        "evaluate.attacks",
    ]
    assert "mine.own:attack: that Python code runs" in told[-1]
    assert "MY_TOKEN" in told[3]
    assert "pw" not in caplog.text
    load_recipe(str(file))
    assert len(caplog.messages) == len(told), "once is enough"


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_no_shipped_recipe_asks_for_code_or_secrets(name, tmp_path, caplog):
    copy = tmp_path / f"{name}.toml"  # told as if it were somebody's
    copy.write_text((RECIPES / f"{name}.toml").read_text())
    read_recipe(str(copy))
    assert caplog.messages == []


# --- what holds when nothing is said


def test_training_defaults_are_the_papers():
    config = TrainConfig()
    assert {name: attrgetter(name)(config) for name in PAPER} == PAPER
    assert config.prompts_per_step == 512  # 15,000 prompts make the 29 steps that the paper rounds to 30


def test_measuring_is_greedy_and_the_gap_is_sampled():
    recipe = load_recipe("paper")
    assert recipe == Recipe(
        ModelConfig(), EvaluateConfig(temperature=1.0, samples=4), TrainConfig(), EvaluateConfig()
    )
    assert (recipe.evaluate.temperature, recipe.gap.temperature) == (0.0, 1.0)
    assert (recipe.evaluate.attacks, recipe.evaluate.samples) == (("static",), 1)
    assert (recipe.model.dtype, recipe.model.trust_remote_code) == ("float32", False)


@pytest.mark.parametrize(
    "path", [p for p in sorted(RECIPES.glob("*.toml")) if "[study]" not in p.read_text()], ids=lambda p: p.stem
)
def test_shipped_recipes_load(path):
    recipe = load_recipe(path.stem)
    assert recipe == load_recipe(str(path))
    assert json.loads(json.dumps(asdict(recipe)))["train"]["steps"] == recipe.train.steps


def test_the_papers_recipe_changes_nothing_and_the_default_guards_it():
    assert load_recipe("paper") == Recipe()
    ours = load_recipe("default")
    assert (ours.model, ours.gap, ours.evaluate) == (Recipe().model, Recipe().gap, Recipe().evaluate)
    assert (ours.train.method, load_recipe("gated").train.gate.kind) == ("distill", "start")
    assert set(ours.train.disguises) < set(ATTACKS)


def test_the_recipe_of_a_model_says_what_differs_from_the_default():
    recipe, default = load_recipe("llama-3.3-70b"), load_recipe("default")
    assert (recipe.model.dtype, recipe.train.lora_rank) == ("bfloat16", 16)  # LoRA
    assert dict(unusual(recipe.train)).items() - dict(unusual(default.train)).items() == {
        (("lora_rank",), 16),
        (("learning_rate",), 1e-4),
    }
    assert (recipe.gap, recipe.evaluate) == (default.gap, default.evaluate)
    assert "Ours and untried" in (RECIPES / "llama-3.3-70b.toml").read_text()


def test_a_recipe_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[train]\nsteps = 7\ngrpo.kl = 0\n[evaluate]\nattacks = ["aim", "direct"]\n')
    recipe = load_recipe(str(path))
    assert (recipe.train.steps, recipe.train.grpo.kl, recipe.train.group) == (7, 0.0, 4)
    assert recipe.evaluate.attacks == ("aim", "direct")
    assert recipe.gap == Recipe().gap


def test_a_recipe_lies_over_its_base(tmp_path):
    base, mine = tmp_path / "base.toml", tmp_path / "mine.toml"
    base.write_text('base = "gated"\n[train]\nsteps = 7\ngroup = 8\n')
    mine.write_text(f'base = "{base}"\n[train]\nsteps = 9\n')
    recipe, default = load_recipe(str(mine), ["train.grpo.kl=0.5"]), load_recipe("gated")
    assert (recipe.train.steps, recipe.train.group, recipe.train.grpo.kl) == (9, 8, 0.5)
    assert recipe.train.reward.anchors == default.train.reward.anchors == 1
    assert recipe.evaluate == default.evaluate


def test_a_base_that_is_no_other_recipe_is_refused(tmp_path):
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(f'base = "{two}"\n')
    two.write_text(f'base = "{one}"\n')
    assert "expected another recipe" in refused([], str(one))
    one.write_text("base = 3\n")
    assert "base = 3 in " in refused([], str(one))
    one.write_text('base = "absent"\n')
    assert refused([], str(one)).startswith("recipe 'absent'; expected a shipped recipe")


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        TrainConfig().steps = 3


# --- changes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("train.steps=60", 60),
        (" train.steps = 60 ", 60),
        ("train.learning_rate=2e-4", 2e-4),
        ("train.grpo.kl=0", 0.0),
        ("train.temperature=2", 2.0),
        ("train.reward.kind=inverted", "inverted"),
        ('train.reward.kind="inverted"', "inverted"),
        ("model.dtype=bfloat16", "bfloat16"),
        ("model.trust_remote_code=true", True),
        ("evaluate.attacks=aim", ("aim",)),
        ("evaluate.attacks=aim,direct", ("aim", "direct")),
        ("evaluate.attacks=aim, direct", ("aim", "direct")),
        ('evaluate.attacks="aim,direct"', ("aim", "direct")),
        ('evaluate.attacks=["aim", "direct"]', ("aim", "direct")),
        ("gap.attacks=my_pkg.mine:attack", ("my_pkg.mine:attack",)),
        ("train.disguises=", ()),
        ('train.disguises=""', ()),
        ("train.disguises=[]", ()),
        ("train.disguises=aim,", ("aim",)),
        ("train.snapshots=", ()),
    ],
)
def test_a_change_of_each_type(change, expected):
    value = attrgetter(change.split("=")[0].strip())(load_recipe("paper", changes=[change]))
    assert value == expected
    assert type(value) is type(expected)


def test_changes_win_over_the_recipe_and_the_last_wins(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[train]\nsteps = 7\ngroup = 8\n")
    recipe = load_recipe(str(path), ["train.steps=8", "train.steps=9"])
    assert (recipe.train.steps, recipe.train.group) == (9, 8)


def test_changes_that_hold_together_only_are_made_together():
    changes = ["train.group=2", "train.prompts_per_step=3", "train.micro_batch=6"]
    assert load_recipe("paper", changes=changes).train.micro_batch == 6
    changes = ["evaluate.samples=4", "evaluate.temperature=0.7"]
    assert load_recipe("paper", changes=changes).evaluate.samples == 4


# --- what is refused


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("trian.steps=1", "section 'trian'; expected a section of a recipe; did you mean train?"),
        ("train.step=1", "setting train.step; expected a known setting; did you mean steps"),
        ("evaluate.attack=aim", "setting evaluate.attack; expected a known setting; did you mean attacks"),
        ("train.sub.steps=1", "setting train.sub; expected a known setting"),
        ("train.gate.sample=1", "setting train.gate.sample; expected a known setting; did you mean samples"),
        ("train.gait.kind=start", "setting train.gait; expected a known setting; did you mean gate"),
        ("train.gate.kind=strat", "train.gate.kind = 'strat'; expected a known value; did you mean start"),
        ("train.trackers=wand", "train.trackers = 'wand'; expected a list of tensorboard, trackio, wandb"),
        ("gap.samples=0", "gap.samples = 0; expected a whole number, 1 or more; change gap.samples"),
        ("train.steps", "--set 'train.steps'; expected section.key=value; for example"),
        ("steps=3", "--set 'steps=3'"),
        (".steps=3", "--set '.steps=3'"),
        ("train.=3", "--set 'train.=3'"),
        ("=", "--set '='"),
        ("", "--set ''"),
    ],
)
def test_unknown_names_suggest_near_ones(change, sentence):
    assert refused(change).startswith(sentence)


def test_an_unknown_recipe_suggests_the_shipped_ones(tmp_path):
    assert refused([], "organsim").startswith(
        "recipe 'organsim'; expected a shipped recipe or a TOML file; did you"
    )
    assert "did you mean organism" in refused([], "organsim")
    assert "expected a shipped recipe or a TOML file" in refused([], str(tmp_path))


@pytest.mark.parametrize("name", MOVED)
def test_a_setting_by_the_name_it_had_is_told_the_one_it_has(name):
    now = ".".join(("train", *MOVED[name]))
    assert refused(f"train.{name}=1") == f"setting train.{name}; expected {now}, its name now; write {now}."
    assert attrgetter(now)(Recipe()) is not None, "and that is a setting"


UNREAD = [
    ("distill", "group", "4", "sirl and sft and dpo and reward_model"),
    ("distill", "reward.bonus", "0.0", "sirl"),
    ("dpo", "grpo.kl", "0.1", "sirl and reward_model"),
    ("sft", "gate.kind", "none", "sirl and distill"),
    ("sft", "search.every", "3", "sirl and distill"),
    ("sirl", "distill.boundary", "5", "distill"),
    ("reward_model", "reward.kind", "random", "sirl"),
]


@pytest.mark.parametrize(("method", "name", "value", "readers"), UNREAD)
def test_a_setting_that_the_method_does_not_read_is_an_error(tmp_path, method, name, value, readers):
    sentence = rf"train.{name} = .* with train.method = '{method}'; expected a setting that {method} reads; "
    sentence += rf"leave it out: train.{name} is read by {readers}\."
    for changes in (
        [f"train.method={method}", f"train.{name}={value}"],
        [f"train.{name}={value}", f"train.method={method}"],
    ):
        assert re.match(sentence, refused(changes))
    mine, base = tmp_path / "mine.toml", tmp_path / "base.toml"
    written = json.dumps(value) if value.isalpha() else value
    mine.write_text(f'base = "paper"\n[train]\nmethod = "{method}"\n{name} = {written}\n')
    assert re.match(sentence, refused([], str(mine)))
    base.write_text(f"[train]\n{name} = {written}\n[train.stop]\nrefusal_budget = 0.5\n")
    mine.write_text(f'base = "{base}"\n[train]\nmethod = "{method}"\n')  # it is for the method of the base
    if method != "sirl" and "sirl" in readers:
        assert load_recipe(str(mine)).train == TrainConfig(method=method, stop=StopConfig(0.5))


def test_a_table_that_the_method_does_not_read_cannot_be_made_either():
    with pytest.raises(ConfigError, match=r"train.grpo.kl = 0.1 with train.method = 'sft'"):
        TrainConfig(method="sft", grpo=GrpoConfig(kl=0.1))
    with pytest.raises(ConfigError, match=r"train.gate.samples = 0; expected a whole number, 1 or more"):
        GateConfig(samples=0)


def test_tables_are_laid_over_those_of_the_base_setting_by_setting(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "gated"\n[train.gate]\nsamples = 3\n[train]\nreward.bonus = 0.1\n')
    train, gated = (
        load_recipe(str(mine), {"train.search.every": 7, "train.reward": {"anchors": 2}}).train,
        load_recipe("gated").train,
    )
    assert train.gate == GateConfig(gated.gate.kind, 3)
    assert train.reward == replace(gated.reward, bonus=0.1, anchors=2)
    assert (train.search.every, train.stop, train.grpo) == (7, gated.stop, gated.grpo)


@pytest.mark.parametrize(
    "change",
    [
        "train.steps=6.0",
        "train.steps=true",
        "train.steps=many",
        'train.steps="6"',
        "train.steps=",
        "train.steps=2020-01-01",
        "train.learning_rate=true",
        "train.learning_rate=small",
        "train.learning_rate=[1e-6]",
        "train.reward.kind=5",
        "model.trust_remote_code=1",
        "model.trust_remote_code=yes",
        "evaluate.attacks=5",
        "evaluate.attacks=true",
        "evaluate.attacks={a=1}",
    ],
)
def test_a_value_of_the_wrong_type_is_refused(change):
    name, _, _ = change.partition("=")
    assert re.match(rf"{name} = .*; expected (a |text|true)", refused(change))


OUT_OF_RANGE = {
    "train.steps": ("0", "-1"),
    "train.prompts_per_step": ("0", "-1"),
    "train.max_prompt_tokens": ("0",),
    "train.max_reply_tokens": ("0",),
    "train.micro_batch": ("0", "-8"),
    "train.save_every": ("0",),
    "train.group": ("1", "0"),
    "train.temperature": ("0", "-1", "5.1", "nan", "inf"),
    "train.learning_rate": ("0", "1", "-1e-6", "nan"),
    "train.schedule": ("linear", "''"),
    "train.grpo.kl": ("-0.1", "nan", "inf"),
    "train.grpo.clip": ("0", "1", "nan"),
    "train.lora_rank": ("-1",),
    "train.limit": ("0",),
    "train.search.every": ("0",),
    "train.search.prompts": ("0",),
    "train.search.budget": ("0",),
    "evaluate.attacks": ("[]",),
    "evaluate.budget": ("-1",),
    "evaluate.max_reply_tokens": ("0",),
    "evaluate.samples": ("0",),
    "evaluate.batch": ("0", "-4"),
    "evaluate.temperature": ("-0.1", "5.1", "nan"),
    "gap.temperature": ("-1", "inf"),
    "gap.batch": ("0",),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in OUT_OF_RANGE.items() for value in values]
)
def test_a_value_out_of_range_is_refused(name, value):
    sentence = refused(f"{name}={value}")
    assert name.rpartition(".")[2] in sentence.partition(";")[0]
    assert sentence.count("; ") == 2


def test_the_limits_themselves_are_allowed():
    changes = [
        "train.temperature=5",
        "train.group=2",
        "train.steps=1",
        "train.grpo.kl=0",
        "evaluate.temperature=5",
    ]
    assert load_recipe("paper", changes=[*changes, "evaluate.budget=1", "evaluate.batch=1"]).train.group == 2


def test_greedy_replies_are_not_drawn_twice():
    assert "samples = 4; expected 1 at temperature 0: greedy replies do not differ" in refused(
        "evaluate.samples=4"
    )
    assert load_recipe("paper", changes=["gap.samples=4"]).gap.samples == 4
    assert "samples = 4" in refused(["gap.samples=4", "gap.temperature=0"])


def test_a_step_is_cut_into_equal_micro_batches():
    sentence = refused("train.micro_batch=7")
    assert "train.micro_batch = 7; expected a divisor of group x prompts_per_step = 2048" in sentence
    assert refused(["train.group=3", "train.prompts_per_step=3"]).startswith("train.micro_batch = 8")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[train\nsteps = 3\n", "is not TOML"),
        (b"[train]\nsteps = \n", "is not TOML"),
        (b"[train]\nsteps = 3\nsteps = 4\n", "is not TOML"),
        (b"[train]\nreward = '\xff'\n", "is not TOML"),
        (b"steps = 3\n", "steps outside a section"),
        (b"[training]\nsteps = 3\n", "section 'training'"),
        (b"[train]\nstepz = 3\n", "setting train.stepz"),
        (b"[train.more]\nsteps = 3\n", "setting train.more"),
        (b"[train.gate]\nkind = 3\n", "train.gate.kind = 3"),
        (b"[train]\ndistill = 3\n", "train.distill = 3; expected a table; known: train.distill.hold_weight, "),
        (b"[train]\ngate = 'none'\n", "setting train.gate; expected train.gate.kind, its name now"),
        (b"[[train]]\nsteps = 3\n", "train outside a section"),
        (b"[train]\nsteps = 0\n", "train.steps = 0"),
    ],
)
def test_a_bad_recipe_is_refused_in_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    found = refused([], str(path))
    assert sentence in found
    assert "\n" not in found


def test_a_system_prompt_is_text_or_a_file(tmp_path):
    (tmp_path / "house.txt").write_text("Be kind.\nBe brief.\n")
    assert system_text(str(tmp_path / "house.txt")) == "Be kind.\nBe brief."
    assert system_text(" Be kind. ") == "Be kind."
    assert system_text("") == load_recipe("paper").evaluate.system == ""
    assert load_recipe("paper", changes=["evaluate.system=Be kind."]).evaluate.system == "Be kind."
    with pytest.raises(ConfigError, match="cannot be read"):
        system_text(str(tmp_path / "absent.txt"))
