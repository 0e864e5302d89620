"""The page's breakdowns, and what it does with two runs that were measured differently."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from test_report import HASHES, harmful, outline, record, write_run

from sirl import metrics
from sirl.errors import RunError
from sirl.records import Attempt, Completion, Message, Prompt, Record, Search
from sirl.reporting import load_runs, render
from sirl.reporting.attacks import attack_kind
from sirl.reporting.wording import change_text, share
from sirl.rundir import open_run, protocol_differences, read_run

SOURCE = {
    "source": "mine.csv",
    "set": "advbench",
    "revision": None,
    "sha256": "0123456789abcdef",
    "encoding": "utf-8",
    "column": "goal",
    "rows": 12,
    "kept": 10,
    "kinds": {"harmful": 10},
    "dropped": {"duplicate": 2},
    "notes": ["read as windows-1252"],
}


def searches(weak, seed, count=24):
    """Return attempts of one search, found after some queries or not in 64, in two categories."""
    rng = random.Random(seed)
    made = []
    for i in range(count):
        complies = rng.random() < weak
        one = harmful(i, "digger", complies, rng)
        prompt = replace(one.prompt, category="owls" if i % 2 else "lynxes")
        spent = rng.randrange(1, 64) if complies else 64
        attempt = replace(one.attempt, prompt=prompt, search=Search("adaptive", 64, spent, 30 * spent))
        made.append(replace(one, completion=replace(one.completion, attempt=attempt)))
    return made


def write(path, records, hashes=HASHES, **config):
    run = open_run(path, "evaluate", {"model": "organism:llama", "seed": 0, **config}, hashes)
    run.append_records(records)
    return run


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    write(folder / "before", searches(0.8, 1), prompts=[SOURCE], settings={"system": "Be kind."})
    write(folder / "after", searches(0.3, 2), prompts=[SOURCE], settings={"system": "Be kind."})
    return folder


def test_the_page_breaks_dsr_down(pair):
    page = render(load_runs([pair]))
    outline(page)
    for name in ("before", "after"):
        records = read_run(pair / name).records()
        for row in metrics.dsr_by_category(records).values():
            assert share(row) in page
        assert f"{share(metrics.as_row(metrics.dsr(records)))} at 64 queries, n = 24" in page
    assert page.count('class="band before"') == page.count('class="band after"') == 2  # queries and passes
    assert "<title>digger: attacks withstood against queries a prompt</title>" in page
    change = metrics.paired_by_attack(*(read_run(pair / n).records() for n in ("before", "after")))["digger"]
    assert all(text in page for text in change_text(change))
    assert "Holm p" in change_text(change)[1]


def test_the_page_says_where_prompts_come_from_and_under_which_system_prompt(pair):
    page = render(load_runs([pair]))
    for told in (
        "mine.csv",
        "advbench",
        "0123456789ab",
        "10 harmful",
        "2 duplicate",
        "read as windows-1252",
        '<pre tabindex="0">Be kind.',
    ):
        assert told in page


def test_without_searches_and_categories_there_is_no_such_section(tmp_path):
    run = write_run(
        tmp_path / "r", "evaluate", [record(Prompt("h", "q", "harmful"), "aim", verdicts={"harmful": False})]
    )
    page = render([run])
    assert "may spend" not in page
    assert "Table of categories" not in page


def test_the_runs_own_system_prompt_is_no_means_of_an_attack():
    one = record(Prompt("h", "q", "harmful"), "aim")
    attempt = replace(one.attempt, messages=(Message("system", "Be kind."), *one.attempt.messages))
    found = [replace(one, completion=replace(one.completion, attempt=attempt))]
    assert attack_kind(found, "Be kind.") == "rewrites the request"
    assert attack_kind(found) == "system message"


def test_a_search_is_shown_with_the_queries_that_it_was_granted():
    prompt = Prompt("p", "How?", "harmful")
    searches = [Search("adaptive", budget=64, queries=spent) for spent in (10, 30)]
    attempts = [Attempt(prompt, "pair", (Message("user", "how?"),), search=search) for search in searches]
    records = [Record(Completion(attempt, "No.", (1,), ("No.",), True), ()) for attempt in attempts]
    assert attack_kind(records) == "adaptive, at 64 queries a prompt, 20 spent"


BASE = {"settings": {"temperature": 0.0, "budget": 0, "max_reply_tokens": 64, "samples": 1, "batch": 8}}
FULL = {
    "weights": "w1",
    "chat_template": "t1",
    "prompts": "p1",
    "system": "s1",
    "attack aim": "a1",
    "judge harmful": "j1",
}


@pytest.mark.parametrize(
    ("hashes", "config", "named"),
    [
        ({"prompts": "p2"}, {}, "prompts (p1 and p2)"),
        ({"system": "s2"}, {}, "system (s1 and s2)"),
        ({"chat_template": "t2"}, {}, "chat_template (t1 and t2)"),
        ({"attack aim": "a2"}, {}, "attack aim (a1 and a2)"),
        ({"attack rot13": "r1"}, {}, "attack rot13 (not recorded and r1)"),
        ({"judge harmful": "j2"}, {}, "judge harmful (j1 and j2)"),
        ({}, {"seed": 1}, "seed (0 and 1)"),
        *(
            (
                {},
                {"settings": BASE["settings"] | {name: value}},
                f"{name} ({BASE['settings'][name]} and {value})",
            )
            for name, value in (("temperature", 0.5), ("budget", 8), ("max_reply_tokens", 32), ("samples", 2))
        ),
    ],
)
def test_another_protocol_is_named_and_refused_unless_allowed(tmp_path, hashes, config, named):
    made = searches(0.5, 0, count=4)
    one = write(tmp_path / "before", made, FULL, **BASE)
    two = write(tmp_path / "after", made, FULL | hashes, **(BASE | config))
    assert protocol_differences(one, two) == [named]
    with pytest.raises(RunError, match=re.escape(named)) as caught:
        render([one, two])
    assert "--allow-different-protocol" in str(caught.value)
    page = render([one, two], allow_different_protocol=True)
    header = page[page.index("<header>") : page.index("</header>")]
    assert "measured differently" in header
    assert named in header


def test_the_model_and_its_weights_may_differ(tmp_path):
    made = searches(0.5, 0, count=4)
    one = write(tmp_path / "before", made, FULL, **BASE)
    two = write(tmp_path / "after", made, FULL | {"weights": "w2"}, **BASE, model="organism:llama+sirl")
    assert "measured differently" not in render([one, two])


def test_a_shard_is_no_run_to_report_on(tmp_path):
    run = write(tmp_path / "s", searches(0.5, 0, count=4), shard="0/2")
    with pytest.raises(RunError, match="shard 0/2 of a run; expected a whole run; put its shards together"):
        render([run])
