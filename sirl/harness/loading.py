"""Names of tasks -> tasks of the harness, with their requests; what cannot be measured here, and why.

The harness's own index has fourteen thousand tasks and takes long to read: it is read only where a name is not
found among ours and the user's.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from datasets import Dataset
from huggingface_hub import constants, get_session
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.tasks import TaskManager

from sirl.errors import DataError, SirlError, suggest
from sirl.harness.model import SkillModel, scorer
from sirl.harness.suites import ORIGINS, TASKS
from sirl.records import Attempt, Completion, Judge, Message, Prompt, Target
from sirl.sandbox import jail

FEWSHOT_SEED = 1234  # the harness's own
PATIENCE = 20.0  # seconds to wait for the hub's answer


@dataclass(frozen=True, slots=True)
class Ready:
    """A task with its `requests` by document, in order; `asked` is the name that brought it."""

    name: str
    asked: str
    task: Task
    requests: Mapping[int, tuple[Instance, ...]]

    @property
    def by(self) -> str:
        """How its documents are answered: generation or likelihood."""
        kinds = {request.request_type for requests in self.requests.values() for request in requests}
        return "generation" if kinds == {"generate_until"} else "likelihood"

    @property
    def fingerprint(self) -> str:
        """A hash of every request and of what a right answer is: of wording, examples, documents, lengths."""
        told = [
            [
                number,
                [[str(a) for a in r.args] for r in requests],
                str(self.task.doc_to_target(requests[0].doc)),
            ]
            for number, requests in self.requests.items()
        ]
        version = str(getattr(self.task, "VERSION", ""))
        return sha256(json.dumps([version, told], ensure_ascii=False).encode()).hexdigest()[:12]


def find_tasks(names: Sequence[str], folders: Sequence[Path] = ()) -> dict[str, list[Task] | str]:
    """Return the tasks behind each name, a group's all, or why they cannot be had.

    `folders` hold tasks of the user's, as `lm_eval --include_path` takes them. Raises DataError on a name that
    nobody has.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no folder {folder}", "a folder of task files", "check --include-path")
    with _quietly():
        near = TaskManager(include_path=[str(TASKS), *map(str, folders)], include_defaults=False)
        if all(name in near.all_tasks for name in names):
            return {name: _open(near, name) for name in names}
        every = TaskManager(include_path=[str(TASKS), *map(str, folders)]) if folders else _harness_and_ours()
        for name in names:
            if name not in every.all_tasks:
                raise DataError(
                    f"no task {name!r}", "a task, group or suite", suggest(name, every.all_tasks)[:400]
                )
        with _copies_where_the_hub_is_silent():
            return {name: _open(near if name in near.all_tasks else every, name) for name in names}


@cache
def _harness_and_ours() -> TaskManager:
    return TaskManager(include_path=str(TASKS))


@contextmanager
def _copies_where_the_hub_is_silent() -> Iterator[None]:
    """Ask the hub once; where it does not answer, use its copies here, without minutes of retries for each."""
    offline = constants.HF_HUB_OFFLINE
    try:
        if not offline:
            get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # of the client's library, or the system's
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


def _open(manager: TaskManager, name: str) -> list[Task] | str:
    try:
        return list(manager.load([name])["tasks"].values())
    except ImportError as error:
        return f"a package that it needs is not installed ({error})"
    except SirlError as error:
        return str(error)
    except Exception as error:  # what loading a set can raise is anybody's: no network, no such file, no rights
        reason = " ".join(str(error).split())[:200]
        return (
            f"its data cannot be loaded ({type(error).__name__}: {reason}); --tasks offline needs no download"
        )


def prepare(
    asked: str, task: Task, target: Target, limit: int | None, seed: int, allow_code: bool
) -> Ready | str:
    """Build the requests of a task, as chats; or say why it is left out.

    `limit` bounds the documents, which are drawn by the seed.
    """
    name = str(task.task_name)
    if why := _unfit(task, target, allow_code):
        return why
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    total = len(task.eval_docs)
    chosen = sorted(Random(f"{seed}|{name}").sample(range(total), min(limit or total, total)))
    with _quietly():
        task.build_all_requests(
            samples=chosen,
            apply_chat_template=True,
            fewshot_as_multiturn=True,
            chat_template=SkillModel(target).apply_chat_template,
        )
    requests: dict[int, list[Instance]] = {number: [] for number in chosen}
    for request in task.instances:
        request.doc_id = chosen[request.doc_id]  # the harness numbers what was chosen
        requests[request.doc_id].append(request)
    if any(request.args[0] == "" for request in task.instances):
        return "it scores answers without a request, which a chat does not have"
    return Ready(name, asked, task, {number: tuple(some) for number, some in requests.items()})


def _unfit(task: Task, target: Target, allow_code: bool) -> str:
    """Say why a task cannot be measured on this target; empty if it can."""
    if getattr(task, "MULTIMODAL", False):
        return "it shows pictures or plays sound"
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return "it measures the perplexity of a text, and asks nothing of a chat"
    if task.OUTPUT_TYPE != "generate_until" and scorer(target) is None:
        return f"it compares log-probs of answers, which {target.name}, as it is asked, does not give"
    if getattr(task, "UNSAFE_CODE", False):
        if str(task.task_name) not in ORIGINS:
            return "it runs a model's code inside this process; sirl_humaneval runs it apart"
        return (
            jail.supported() if allow_code else "it runs code that the model wrote; --allow-code lets it, apart"
        )
    return ""


def prompts_task(name: str, prompts: Sequence[Prompt], judge: Judge, longest: int) -> Task:
    """Return prompts with a judge of *correct?* as a task of the harness; `longest` bounds a reply's tokens."""
    by_id = {prompt.id: prompt for prompt in prompts}

    def correct(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float | None]:
        prompt = by_id[doc["id"]]
        attempt = Attempt(prompt, "direct", (Message("user", prompt.text),))
        answer = judge([Completion(attempt, results[0], (), (), finished=True)])[0].answer
        return {"correct": None if answer is None else float(answer)}

    rows = [{"id": prompt.id, "request": prompt.text, "answer": prompt.answer} for prompt in prompts]
    config = {
        "task": name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "doc_to_text": "request",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": longest},
        "process_results": correct,
        "metric_list": [{"metric": "correct", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1},
    }
    with _quietly():
        return ConfigurableTask(config=config)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep back the bars and the talk of the harness and the hub; their errors are raised, not logged."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "huggingface_hub")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
