"""Run folders -> one self-contained HTML page: no network, no script, the same bytes for the same folders.

    story        which run plays which part
    verdict      the sentence that the page opens with, by a stated rule
    headline, gap, attacks, breakdowns, costs, skills, training, transcripts, protocol
                 the sections, figures from `metrics` and drawings from `charts`
    wording      numbers -> words
    pages        a template and its values -> the page; whatever a model wrote is escaped
    page.html.j2, style.css
                 the page
    study, study_page, study.html.j2
                 the table of a study, in Markdown and as a page of its own
    card, card_figures, grid
                 the model card of what is exported

Knows no model and no judge: every number is recomputed from the records on disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from sirl.records import Transcripts, notice
from sirl.reporting.attacks import attack_section
from sirl.reporting.breakdowns import budget_section, category_section, source_section
from sirl.reporting.costs import cost_section
from sirl.reporting.gap import gap_section
from sirl.reporting.headline import headline
from sirl.reporting.pages import fill
from sirl.reporting.protocol import protocol
from sirl.reporting.skills import skills_section
from sirl.reporting.story import load_runs, model_of, tell
from sirl.reporting.training import setback, training_section
from sirl.reporting.transcripts import examples
from sirl.reporting.verdict import RULE, verdict
from sirl.reporting.wording import count
from sirl.rundir import RunDir

__all__ = ["load_runs", "render", "tell", "verdict"]


def render(
    runs: Sequence[RunDir], allow_different_protocol: bool = False, transcripts: Transcripts = "redacted"
) -> str:
    """Return the page about these runs as HTML; write it as UTF-8. `transcripts` says what is quoted of them.

    Kinds gap, train, evaluate and skills have their sections, in any combination; of the last two at most two
    runs each. Raises RunError if there is nothing to show, if runs do not make a pair, if they were made
    under different protocols (unless that is allowed: the page then opens by saying so), or on a damaged run.
    """
    story = tell(runs, allow_different_protocol)
    judged = verdict(story)
    return fill(
        "page.html.j2",
        story=story,
        models=list(dict.fromkeys(model_of(run) for run in story.runs)),
        verdict=judged,
        rule=RULE,
        tiles=headline(story, judged),
        setbacks=list(map(setback, story.trains)),
        gaps=[gap_section(side) for side in story.gaps],
        attacks=attack_section(story) if story.sides else None,
        categories=category_section(story) if story.sides else None,
        sources=source_section(story) if story.sides else None,
        budgets=budget_section(story),
        costs=cost_section(story) if story.sides else None,
        skills=skills_section(story) if story.skills else None,
        trainings=[training_section(run) for run in story.trains],
        examples=examples(story, transcripts),
        quoted=transcripts,
        notice=notice(transcripts),
        protocol=protocol(story),
        count=count,
    )
