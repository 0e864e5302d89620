"""The arguments and options that several commands share, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        help="organism:llama, organism:qwen2, a model folder, a GGUF file, the folder of a training run, a hub "
        "id, or an OpenAI-compatible endpoint: http(s)://host:port/v1#model-name."
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
        help="With --model: sets or files to evaluate on, with harmful and safe requests. Requests in them are "
        "left out of training. Repeatable.",
    ),
]
TrainPrompts = Annotated[
    list[str] | None,
    typer.Option(
        help="With --model: sets or files to train on, without labels. Default: train.prompts. Repeatable."
    ),
]
DemoRecipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="A shipped recipe or a TOML file. Default: laptop, or organism-demo for the embedded model.",
    ),
]
Out = Annotated[Path, typer.Option(help="Run folder: a new one, or one to continue.")]
Seed = Annotated[int, typer.Option(help="The same seed on the same machine gives the same records.", min=0)]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        help="A published set (advbench, xstest, ...; NAME@REVISION), any of the hub "
        "(hf:OWNER/NAME?config=NAME&split=NAME), or a file: CSV, JSON, JSONL, Parquet, text (FILE@SPLIT). "
        "Repeatable. Default: the embedded model's own prompts; for sirl train with another model, "
        "train.prompts."
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="Column that holds the text. Give one for all files, or one for each, in order."
    ),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        help="Kind of rows that state none: harmful, benign, borderline or task. Default: harmful, with a "
        "warning. Give one for all files, or one for each, in order.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(help="Sample at most this many prompts of each source, by the seed.", min=1),
]
Attacks = Annotated[
    str,
    typer.Option(
        help="Attacks, separated by commas: names (sirl attacks list), groups (all, paper, static, adaptive, "
        "transfer), NAME@transfer, NAME/VARIANT, my_pkg.mine:attack. Default: the recipe's."
    ),
]
Judges = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        help="refusal, harm, exact, llm=MODEL, guard=MODEL, classifier=MODEL or my_pkg.mine:judge. Put "
        "refused=, harmful= or correct= in front of it for that question only. "
        "Repeatable: judges of one question vote.",
    ),
]
Attacker = Annotated[
    str,
    typer.Option(
        help="The model that writes attacks, named like MODEL. An organism has a default, organism:attacker."
    ),
]
Surrogate = Annotated[
    str, typer.Option(help="The model that NAME@transfer attacks search on, named like MODEL.")
]
Scorer = Annotated[
    str,
    typer.Option(
        help="The judge that tells a search when it has succeeded, named like --judge. Default: the default "
        "judge of harm, and where it cannot decide, the one that --judge names."
    ),
]
PhraseBookFile = Annotated[
    Path | None,
    typer.Option(help="Phrase book for the attack low_resource: two phrases a line, separated by a tab."),
]
DemonstrationsFile = Annotated[
    Path | None,
    typer.Option(
        help="Table of requests and answers that ica, many_shot and the ciphers show as demonstrations. "
        "sirl attacks demonstrate writes one."
    ),
]
AttackPrompts = Annotated[
    Path | None,
    typer.Option(
        help="Attack prompts to replay: a JailbreakBench artifact, HarmBench test cases, or a table with one "
        "column for each attack."
    ),
]
AttackColumns = Annotated[
    str, typer.Option("--columns", help="Columns of --attack-prompts that hold attacks, separated by commas.")
]
RequestColumn = Annotated[
    str,
    typer.Option(
        help="Column of --attack-prompts that holds the plain requests. Default: prompt, text, goal ..."
    ),
]
Defence = Annotated[
    str,
    typer.Option(
        help="Defence around the model: a name of sirl defences list, NAME=MODEL, or my_pkg.mine:defence."
    ),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="A fast first look: few prompts and small budgets. Figures are rough.")
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option(
        "--held-out",
        help="A set or file that you evaluate on. Training leaves out its requests and near-copies of them. "
        "Repeatable.",
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Train even if the base model fails the check before training. The run records it."
    ),
]
Shard = Annotated[
    str,
    typer.Option(
        help="Do part i of n of the work, with i from 0, for example 0/2. Join the parts with sirl merge."
    ),
]
RecipeName = Annotated[
    str, typer.Option(help="A shipped recipe or a TOML file. Default: default, or organism for an organism.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting, for example train.steps=60. Repeatable.")
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
    bool,
    typer.Option("--allow-different-protocol", help="Compare runs even if they were measured differently."),
]
Transcripts = Annotated[
    str,
    typer.Option(
        help="Which prompts and replies the page quotes: none; redacted, which hides those that are harmful, "
        "undecided or written by an attack; or all."
    ),
]
RequestsOfReplies = Annotated[
    str, typer.Option("--request-column", help="Column of the requests. Intervals are clustered by request.")
]
Tasks = Annotated[
    str,
    typer.Option(
        help="Suites (offline, quick, paper), or tasks and groups of lm-evaluation-harness or --include-path, "
        "separated by commas."
    ),
]
TaskFolders = Annotated[
    list[Path] | None,
    typer.Option("--include-path", help="A folder of your own task files, as lm_eval takes it. Repeatable."),
]
TaskLimit = Annotated[
    int | None, typer.Option(help="Sample at most this many documents of each task, by the seed.", min=1)
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Run the programs that the model writes, in a process that cannot use the network, write files or "
        "start other processes.",
    ),
]
LongestReply = Annotated[int, typer.Option(help="Longest reply, in tokens. 0: what each task says.", min=0)]
