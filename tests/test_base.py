"""What the base model has replied is not drawn again: the reply would be the very same."""

from __future__ import annotations

from dataclasses import replace

from small_training import PROMPTS, toy_lm

from sirl.generation import generate
from sirl.records import Decoding
from sirl.rundir import open_run
from sirl.training import base, plainly
from sirl.training.base import REPLIES, Base

LIMIT = Decoding(1.0, max_new_tokens=5)
ASKED = [replace(plainly(prompt), sample=n) for prompt in PROMPTS for n in range(2)]


def counted(monkeypatch) -> list[int]:
    """Let the draws be counted: how many replies each took."""
    counts: list[int] = []
    for name in ("generate", "generate_together"):
        real = getattr(base, name)

        def spy(lm, attempts, *rest, real=real):
            counts.append(len(attempts))
            return real(lm, attempts, *rest)

        monkeypatch.setattr(base, name, spy)
    return counts


def said(replies):
    return [(r.attempt, r.text, r.token_ids, r.finished) for r in replies]  # the rest is rounded by company


def test_a_reply_is_drawn_once_and_kept_in_the_run(tmp_path, monkeypatch):
    lm, run = toy_lm(), open_run(tmp_path / "run", "train", {}, {})
    expected = said(generate(lm, ASKED, LIMIT, 0))
    counts, first = counted(monkeypatch), Base(lm)
    assert said(first.reply([*ASKED[:4], *ASKED[:4]], LIMIT, 0)) == expected[:4] * 2
    first.keep(run)
    replies = first.reply(ASKED, LIMIT, 0)
    assert said(replies) == expected
    assert all(len(r.token_ids) == len(r.entropies) == len(r.logprobs) for r in replies)
    again = Base(lm)
    again.recall(run)
    assert again.reply(ASKED, LIMIT, 0) == replies
    again.keep(run)
    assert counts == [4, len(ASKED) - 4]
    assert len(run.rows(REPLIES)) == len(ASKED)


def test_what_differs_in_seed_decoding_or_words_is_drawn(monkeypatch):
    lm = toy_lm()
    counts, known = counted(monkeypatch), Base(lm)
    known.reply(ASKED, LIMIT, 0)
    known.reply(ASKED[:2], LIMIT, 1)
    known.reply(ASKED[:2], replace(LIMIT, max_new_tokens=4), 0)
    other = replace(ASKED[0], messages=(replace(ASKED[0].messages[0], content="as named, and not as asked"),))
    assert said(known.reply([other], LIMIT, 0)) == said(generate(lm, [other], LIMIT, 0))
    assert counts == [len(ASKED), 2, 2, 1]


def test_the_gate_draws_what_nobody_has_asked_and_keeps_none(tmp_path, monkeypatch):
    lm, run = toy_lm(), open_run(tmp_path / "run", "train", {}, {})
    expected = said(generate(lm, ASKED, LIMIT, 0))
    counts, known = counted(monkeypatch), Base(lm)
    known.keep(run)
    known.reply(ASKED[::2], LIMIT, 0)
    with known.drawing() as draw:
        assert said(draw(ASKED, LIMIT, 0)) == expected
    assert counts == [len(ASKED) // 2] * 2
    assert len(run.rows(REPLIES)) == len(ASKED) // 2
