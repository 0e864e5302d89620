"""The arguments and options that several commands share, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        help="organism:llama, organism:qwen2, a model folder, the folder of a training run, a hub id, or an "
        "OpenAI-compatible endpoint: http(s)://host:port/v1#model-name."
    ),
]
OwnModel = Annotated[
    str,
    typer.Option("--model", help="A model folder or a hub id. Default: the embedded model, organism:ARCH."),
]
EvaluationPrompts = Annotated[
    list[str] | None,
    typer.Option(
        "--prompts",
        help="With --model: sets or files to evaluate on, harmful and safe requests, as of sirl evaluate. What "
        "they ask is not trained on. Repeatable.",
    ),
]
TrainPrompts = Annotated[
    list[str] | None,
    typer.Option(
        help="With --model: sets or files to train on, without labels. Repeatable. Default: train.prompts."
    ),
]
DemoRecipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="A shipped recipe or a TOML file. Default: laptop; of the embedded model organism-demo.",
    ),
]
Out = Annotated[Path, typer.Option(help="Run folder: new, or to be continued.")]
Seed = Annotated[int, typer.Option(help="Same seed, same machine: same records.", min=0)]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        help="A published set (advbench, xstest, ...; NAME@REVISION), or a file: CSV, JSON, JSONL, Parquet, "
        "text (FILE@SPLIT). Repeatable. Default: the organism's own; of sirl train for another model, "
        "train.prompts."
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Column of a file that holds the text. One for all, or one each, in order."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        help="Kind of a file's rows that state none: harmful, benign, borderline or task. Default: harmful, "
        "which is told. One for all, or one each, in order.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        help="Sample so many prompts of each source, by the seed; of an organism's own, of each sort.", min=1
    ),
]
Attacks = Annotated[
    str,
    typer.Option(
        help="Names, all, paper, static, adaptive, transfer, NAME@transfer, NAME/VARIANT, my_pkg.mine:attack; "
        "with commas. Default: the recipe's."
    ),
]
Judges = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        help="refusal, harm, exact, llm=MODEL, guard=MODEL, classifier=MODEL or my_pkg.mine:judge; question= "
        "before it names one question. Repeatable: judges of one question vote.",
    ),
]
Attacker = Annotated[
    str,
    typer.Option(help="A model that writes attacks: as MODEL. Default: an organism's is organism:attacker."),
]
Surrogate = Annotated[str, typer.Option(help="A model that NAME@transfer attacks search on: as MODEL.")]
Scorer = Annotated[
    str,
    typer.Option(
        help="A judge that tells attacks when they succeed, as of --judge. Default: the judge of harm of a run "
        "without --judge, and the one named where that cannot decide."
    ),
]
PhraseBookFile = Annotated[
    Path | None, typer.Option(help="What low_resource translates by: two phrases a line, a tab between.")
]
DemonstrationsFile = Annotated[
    Path | None,
    typer.Option(
        help="What ica, many_shot and the ciphers show: a table of requests with their answers; sirl attacks "
        "demonstrate has a model write one."
    ),
]
AttackPrompts = Annotated[
    Path | None,
    typer.Option(
        help="Prompts found elsewhere, to replay: a JailbreakBench artefact, test cases of HarmBench, or a "
        "table with one column an attack."
    ),
]
AttackColumns = Annotated[
    str, typer.Option("--columns", help="The columns of --attack-prompts that hold attacks, with commas.")
]
RequestColumn = Annotated[
    str, typer.Option(help="Its column of requests. Default: the first of prompt, text, goal ...")
]
Defence = Annotated[
    str,
    typer.Option(
        help="What stands around the model: a name of sirl defences, NAME=MODEL, or my_pkg.mine:defence."
    ),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="A look at everything: few prompts, small budgets. Figures are rough.")
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option(
        "--held-out",
        help="A set or file, as of --prompts, to evaluate on: what it asks, word for word or nearly, is "
        "not trained on. Repeatable.",
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Train although the model is no surer when it refuses; it is recorded."),
]
Shard = Annotated[
    str, typer.Option(help="Do part i of n of the work, i from 0: 0/2. Put the parts together with sirl merge.")
]
RecipeName = Annotated[
    str, typer.Option(help="A shipped recipe or a TOML file. Default: organism for an organism, else default.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: train.steps=60. Repeatable.")
]
Method = Annotated[
    str,
    typer.Option(
        help="distill, sirl, or a baseline that reads labels: sft, dpo, reward_model. Default: the recipe's."
    ),
]
Arch = Annotated[str, typer.Option(help="llama or qwen2.")]
Role = Annotated[str, typer.Option(help="target (to attack and harden) or attacker (writes attacks).")]
AnyProtocol = Annotated[
    bool, typer.Option("--allow-different-protocol", help="Compare runs that were measured differently.")
]
Transcripts = Annotated[
    str,
    typer.Option(
        help="What is written of prompts and replies: none; redacted, without what is harmful, undecided or "
        "written by an attack; or all."
    ),
]
RequestsOfReplies = Annotated[
    str, typer.Option("--request-column", help="Column of the requests; the interval resamples them.")
]
Tasks = Annotated[
    str,
    typer.Option(
        help="Suites (offline, quick, paper), tasks or groups of lm-evaluation-harness, or of --include-path; "
        "with commas."
    ),
]
TaskFolders = Annotated[
    list[Path] | None,
    typer.Option("--include-path", help="A folder of task files of yours, as lm_eval takes it. Repeatable."),
]
TaskLimit = Annotated[int | None, typer.Option(help="Documents of each task, drawn by the seed.", min=1)]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Run the programs that the model writes, in a process without network, writing and children.",
    ),
]
LongestReply = Annotated[int, typer.Option(help="Tokens of a reply at most; 0: as each task says.", min=0)]
