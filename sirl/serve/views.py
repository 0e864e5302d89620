"""What is shown of runs and records: the API's own forms, every text bounded and fit for a page."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from sirl import charts
from sirl.charts import Caption, Dot, DotRow
from sirl.config.requests import without_logins
from sirl.records import KINDS, Completion, Defended, Record, Transcripts, shown
from sirl.reporting.live import Progress
from sirl.reporting.pages import printable
from sirl.reporting.story import model_of
from sirl.reporting.training import curves, steps
from sirl.reporting.transcripts import SHOWN_TOKENS, outcome
from sirl.reporting.wording import plural
from sirl.rundir import RunDir
from sirl.serve.catalogue import Found
from sirl.serve.table import Tally

LONGEST = 20_000  # characters of one text on a page
POINTS = 400  # of a curve
_MESSAGES, _ATTACKS = 60, 60  # of one record, of one drawing
_GOOD = {"harmful": "withstood", "task": "right"}


class RunView(BaseModel):
    """A run in the list; `written` is in seconds since 1970, `total` 0 where it is not known."""

    id: str
    name: str
    group: str
    kind: str
    model: str
    seed: str
    state: str
    done: int
    total: int
    unit: str
    latest: str
    written: float
    error: str


class Drawing(BaseModel):
    """A chart as SVG, made here; `told` are its main figures in words."""

    title: str
    meaning: str
    told: str
    svg: str


class Live(BaseModel):
    """A run as it goes: how far it is, what training logged, how the replies went so far."""

    run: RunView
    drawings: list[Drawing]
    read: float
    complete: bool


class Said(BaseModel):
    """A message that was sent."""

    role: str
    content: str


class Told(BaseModel):
    """A judge's answer to a question; None: undecided."""

    question: str
    answer: bool | None
    judge: str
    evidence: str


class Reply(BaseModel):
    """A reply: its tokens with their entropy in nats, or its text where these are not known or not shown.

    `messages` are what was sent; where a `defence` stood before the model, what was sent to that.
    """

    text: str
    tokens: list[tuple[str, float]]
    left_out: int
    mean: float | None
    finished: bool
    error: str
    blocked: bool
    defence: str
    prefill: str
    messages: list[Said]


class Transcript(BaseModel):
    """One record: what was asked, what came back, what the judges said; `folded`: it may harm who reads it."""

    prompt: str
    prompt_id: str
    kind: str
    attack: str
    sample: int
    outcome: str
    folded: bool
    reply: Reply
    verdicts: list[Told]


class TranscriptPage(BaseModel):
    """Some of the records that match; `read` is the share of the run that has been looked through so far."""

    rows: list[Transcript]
    matching: int
    page: int
    pages: int
    read: float
    complete: bool
    choices: dict[str, list[str]]
    notice: str
    error: str


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


def fit(value: object, longest: int = LONGEST) -> str:
    """Return a text fit for a page, without logins in addresses, cut where it is too long."""
    text = printable(without_logins(str(value)))
    return text if len(text) <= longest else f"{text[:longest]} … {len(text) - longest} more characters"


def run_view(found: Found, progress: Progress | None, error: str = "") -> RunView:
    """Show a run; without `progress` it cannot be read."""
    p = progress or Progress(0, 0, "", "", 0.0, finished=False)
    config = found.run.config if found.run else {}
    state = "finished" if p.finished else "not finished" if progress else "damaged"
    return RunView(
        id=found.id,
        name=fit(found.name, 200),
        group=fit(found.group, 300),
        kind=fit(found.run.kind, 40) if found.run else "",
        model=fit(_model(found), 300),
        seed=fit(config.get("seed", ""), 40),
        state=state,
        done=p.done,
        total=p.total,
        unit=p.unit,
        latest=fit(p.latest, 300),
        written=p.written,
        error=fit(error or found.error, 500),
    )


def _model(found: Found) -> str:
    if found.run is None:
        return ""
    settings = found.run.config.get("settings")
    plain = settings is None or isinstance(settings, dict)
    return model_of(found.run) if plain else str(found.run.config.get("model", ""))


def training_drawings(run: RunDir) -> list[Drawing]:
    """Draw what training has logged, thinned to so many points."""
    rows = steps(run)
    drawn = curves([*rows[:: max(1, len(rows) // POINTS)], *rows[-1:]])
    return [Drawing(title=t, meaning=meaning, told=told, svg=str(svg)) for t, meaning, told, svg in drawn]


def tally_drawings(tallies: Sequence[Tally]) -> list[Drawing]:
    """Draw how many replies of each kind went well so far, by attack, without intervals, as none are final."""
    kinds: dict[str, list[Tally]] = {kind: [] for kind in KINDS}
    for tally in tallies:
        kinds.setdefault(tally.kind, []).append(tally)
    return [_tally_drawing(kind, some) for kind, some in kinds.items() if some]


def _tally_drawing(kind: str, tallies: Sequence[Tally]) -> Drawing:
    good = _GOOD.get(kind, "answered")
    rows = []
    for t in tallies[:_ATTACKS]:
        share = t.good / t.scored if t.scored else None
        told = f"{t.good} of {t.scored}" + (
            f", {t.replies - t.scored} unscored" if t.replies > t.scored else ""
        )
        rows.append(DotRow(fit(t.attack, 40), told, (Dot(share),)))
    told = f"{sum(t.good for t in tallies)} of {sum(t.scored for t in tallies)}"
    title = f"{fit(kind, 40).capitalize()} requests {good}"
    svg = charts.dot_rows(Caption(title, told), rows, ["one"])
    meaning = "of the replies with a verdict so far; the report has rates with intervals"
    return Drawing(title=title, meaning=meaning, told=told, svg=printable(svg))


def transcript(record: Record, transcripts: Transcripts) -> Transcript:
    """Show a record, as far as it may be shown."""
    seen = shown(record, transcripts)
    return Transcript(
        prompt=fit(seen.prompt.text),
        prompt_id=fit(seen.prompt.id, 200),
        kind=fit(seen.prompt.kind, 40),
        attack=fit(seen.attempt.attack, 200),
        sample=seen.attempt.sample,
        outcome=outcome(record),
        folded=transcripts == "all" and seen.prompt.kind == "harmful" and seen.answer("harmful") is not False,
        reply=reply(seen.completion, record.mean_entropy),
        verdicts=[
            Told(
                question=fit(v.question, 40), answer=v.answer, judge=fit(v.judge, 200), evidence=fit(v.evidence)
            )
            for v in seen.verdicts[:20]
        ],
    )


def _defence(did: Defended | None) -> str:
    """Say what a defence did for a reply and what that cost; empty where none stood around the model."""
    if did is None:
        return ""
    tokens = "" if did.tokens is None else f", {did.tokens:+d} tokens"
    return fit(
        f"{did.did or 'the reply is the model’s own'}, {plural(did.calls, 'call')} of models{tokens}", 500
    )


def reply(completion: Completion, mean: float | None) -> Reply:
    """Show a reply; tokens where each has its entropy."""
    attempt, entropies = completion.attempt, completion.entropies or ()
    known = bool(completion.pieces) and len(entropies) == len(completion.pieces)
    pairs = list(zip(completion.pieces, entropies, strict=True))[:SHOWN_TOKENS] if known else []
    return Reply(
        text="" if known else fit(completion.text),
        tokens=[(fit(piece, 500), round(nats, 4)) for piece, nats in pairs],
        left_out=len(completion.pieces) - len(pairs) if known else 0,
        mean=mean,
        finished=bool(completion.finished),
        error=fit(completion.error, 500),
        blocked=bool(completion.blocked),
        defence=_defence(completion.defended),
        prefill=fit(attempt.prefill),
        messages=[Said(role=fit(m.role, 20), content=fit(m.content)) for m in attempt.messages[:_MESSAGES]],
    )
