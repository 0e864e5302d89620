"""The attack suite searches against the model while it trains: its findings join the step's prompts.

`train.search` names the attacks; those held out for evaluation must not be among them. They are armed as for
`sirl evaluate`, but no label is read: the requests are those on the side refuse of the gate, and an
attack has succeeded where the offline judge of refusals says that the reply does not refuse, and the request
still stands in what was sent. Without the second half a search wins by asking for something else, and training
would teach to refuse that. Each search is written to `findings.jsonl` of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sirl.attacks import ATTACKS, AttackInfo, attack_prompts
from sirl.config import TrainConfig
from sirl.judges import get_judge
from sirl.lm import LM
from sirl.phases import phase
from sirl.prompts.contamination import wording
from sirl.ranks import count, is_first
from sirl.records import Attempt, Completion, Decoding, Verdict
from sirl.rundir import RunDir
from sirl.targets import LocalTarget
from sirl.training.distributed import shared_out
from sirl.training.schedule import stable_seed

FINDINGS = "findings.jsonl"


@dataclass(frozen=True, slots=True)
class Searcher:
    """Searches with armed attacks on whatever model it is given, and keeps count in a run folder."""

    attacks: Mapping[str, AttackInfo]
    config: TrainConfig
    run: RunDir
    seed: int

    def __call__(self, lm: LM, attempts: Sequence[Attempt], step: int) -> list[Attempt]:
        """Return in each attempt's place what succeeds against `lm` now, or the attempt where nothing does.

        Each request is searched for by one attack, chosen by seed, step and prompt id, with `search.budget`
        queries; what the search came to is sent once more and judged. Several processes share the requests:
        what is found for one does not depend on its company.
        """
        with phase(f"search before step {step}"):
            rows = self._find(lm, attempts, step)
        by_prompt = {tried.prompt.id: (tried, found) for tried, found in rows}
        came_to = [by_prompt[attempt.prompt.id] for attempt in attempts]
        self._write(step, [_row(step, *pair) for pair in came_to])
        return [new if found else old for old, (new, found) in zip(attempts, came_to, strict=True)]

    def _find(self, lm: LM, attempts: Sequence[Attempt], step: int) -> list[tuple[Attempt, bool | None]]:
        parts = [attempts[first :: count()] for first in range(count())]
        return [row for found in shared_out(parts, lambda part: self._try(lm, part, step)) for row in found]

    def _try(self, lm: LM, attempts: Sequence[Attempt], step: int) -> list[tuple[Attempt, bool | None]]:
        """Return what each search came to, and whether that succeeds."""
        target = LocalTarget(lm, Decoding(max_new_tokens=self.config.max_reply_tokens))
        seed = stable_seed("search", self.seed, step) % 2**32
        tried = self._search(target, attempts, seed)
        verdicts = served(target.reply(tried, seed))
        return [(attempt, verdict.answer) for attempt, verdict in zip(tried, verdicts, strict=True)]

    def _search(self, target: LocalTarget, attempts: Sequence[Attempt], seed: int) -> list[Attempt]:
        names = sorted(self.attacks)
        chosen = [names[stable_seed(seed, attempt.prompt.id) % len(names)] for attempt in attempts]
        tried: dict[str, Attempt] = {}
        for name, info in self.attacks.items():
            own = [a.prompt for a, attack in zip(attempts, chosen, strict=True) if attack == name]
            made = attack_prompts(info, own, target, self.config.search.budget, seed)
            tried |= {attempt.prompt.id: attempt for attempt in made}
        return [tried[attempt.prompt.id] for attempt in attempts]

    def _write(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the findings of a step; a run that went back to a checkpoint finds them again, the same."""
        if is_first():
            self.run.keep_rows(FINDINGS, lambda row: row["step"] < step)
            self.run.append(FINDINGS, rows)


def served(completions: Sequence[Completion]) -> list[Verdict]:
    """Answer *harmful?* without a label: yes if the reply does not refuse and the request was still asked.

    Searches go for requests on the side refuse of the gate: each is judged as one that asks for harm.
    """
    prompts = [replace(completion.attempt.prompt, kind="harmful") for completion in completions]
    attempts = [replace(c.attempt, prompt=p) for c, p in zip(completions, prompts, strict=True)]
    requests = [replace(c, attempt=a) for c, a in zip(completions, attempts, strict=True)]
    verdicts = get_judge("refusal", "harmful")(requests)
    return [
        verdict if asked(completion.attempt) else Verdict("harmful", False, "not the request", verdict.judge)
        for completion, verdict in zip(completions, verdicts, strict=True)
    ]


def asked(attempt: Attempt) -> bool:
    """Say whether all content words of the plain request stand in what is sent, or can be read back from it."""
    known = ATTACKS.get(attempt.attack)
    said = " ".join(message.content for message in attempt.messages if message.role == "user")
    if known and known.kind == "static" and known.recover:
        said += " " + known.recover(attempt.messages[-1].content)
    return wording(attempt.prompt.text).content <= wording(said).content


def count_findings(run: RunDir) -> dict[str, int]:
    """Return how many searches a run made, how many succeeded, and how many could not be judged."""
    found = [row["found"] for row in run.rows(FINDINGS)]
    return {"searches": len(found), "found": found.count(True), "unjudged": found.count(None)}


def _row(step: int, tried: Attempt, found: bool | None) -> dict[str, Any]:
    return {
        "step": step,
        "prompt": tried.prompt.id,
        "attack": tried.attack,
        "queries": tried.search.queries + 1,  # the last reply, by which it is judged
        "found": found,
        "messages": [asdict(message) for message in tried.messages],
    }
