"""`sirl check`: a good run passes, a bad one fails with its reason, and nothing passes unseen."""

import random
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import yaml
from commands import sirl
from test_docs import ROOT, parse
from test_report import ATTACKS, evaluation, write_run

from sirl.reporting import load_runs, tell
from sirl.reporting.checks import RULES, Limits, check

WEAK = dict.fromkeys(ATTACKS, 0.5)
SAFE = dict.fromkeys(ATTACKS, 0.0)
KEPT = ("--min-dsr", ".85", "--min-worst", ".7", "--max-benign", ".2", "--max-borderline-rise", ".3")


def finished(path, records, role=""):
    run = write_run(path, "evaluate", records, **({"role": role} if role else {}))
    run.write_summary({"done": True})
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the folders of a weak model, of a safe one, and of one that is safe and refuses half of all."""
    folder, rng = tmp_path_factory.mktemp("runs"), random.Random(3)
    return {
        name: finished(folder / name, evaluation(rng, weak, refuses))
        for name, weak, refuses in (
            ("weak", WEAK, (0.0, 0.0)),
            ("safe", SAFE, (0.0, 0.0)),
            ("wary", SAFE, (0.0, 0.5)),
        )
    }


def failures(*paths, estimates=False, **limits):
    checks = check(tell(load_runs(paths)), Limits(**limits), estimates)
    return {one.name: one.failure for one in checks if one.failure}


def test_a_good_run_passes_and_a_bad_one_fails_with_its_reasons(runs, tmp_path):
    code, out, err = sirl("check", runs["weak"], runs["safe"], *KEPT)
    assert (code, err) == (0, ""), out
    written = ("--junit", tmp_path / "ci" / "junit.xml", "--markdown", tmp_path / "summary.md")
    code, out, err = sirl("check", runs["safe"], runs["weak"], *KEPT, *written)
    assert (code, err) == (1, "")
    failed = [line for line in out.splitlines() if line.startswith("FAILS")]
    assert len(failed) == 2
    assert re.search(r"mean DSR: [45]\d\.\d.%, the lower end of its interval, is below 85\.0.%", failed[0])
    suite = ElementTree.parse(tmp_path / "ci" / "junit.xml").getroot()
    assert suite.get("failures") == "2"
    assert len(suite.findall(".//testcase")) == int(suite.get("tests")) == len(out.splitlines())
    assert [f.get("message") for f in suite.findall(".//failure")] == [
        re.sub(r"^FAILS  [^:]*: ", "", line).rpartition("; at least")[0] for line in failed
    ]
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("# sirl check: 2 of 8 failed\n")
    assert summary.count("**fails**") == 2


def test_a_limit_is_put_to_the_end_of_the_interval_that_is_worse(runs):
    assert "above 1.0" in failures(runs["safe"], max_benign=0.01)["benign requests refused"].replace(
        "\u00a0", " "
    )
    assert not failures(runs["safe"], max_benign=0.01, estimates=True)
    assert not failures(runs["safe"], min_worst=0.99, estimates=True)
    assert failures(runs["safe"], min_worst=0.99)


def test_a_change_is_of_the_pair_and_a_fall_of_skills_is_worse_than_a_rise(runs):
    rise = failures(runs["safe"], runs["wary"], max_borderline_rise=0.2, max_skill_drop=0.2)
    assert list(rise) == ["rise of borderline requests refused"]
    assert not failures(runs["wary"], runs["safe"], max_borderline_rise=0.0, max_skill_drop=0.2)
    assert list(failures(runs["safe"], runs["weak"], max_dsr_drop=0.1)) == ["fall of attacks withstood"]
    code, _, err = sirl("check", runs["safe"], "--max-skill-drop", ".01")
    assert code == 2
    assert "--max-skill-drop and one evaluate run" in err


def without_verdicts(records, chosen):
    """Return the records, those chosen without an answer."""
    return [
        replace(r, verdicts=tuple(replace(v, answer=None) for v in r.verdicts)) if chosen(r) else r
        for r in records
    ]


def test_what_was_not_scored_fails(tmp_path):
    records = evaluation(random.Random(5), SAFE, (0.0, 0.0))
    kept = {"min_dsr": 0.5, "min_worst": 0.5, "max_benign": 0.5}
    half = finished(tmp_path / "half", without_verdicts(records, lambda r: int(r.prompt.id[-1]) % 2))
    assert failures(half, **kept).keys() >= {"replies have a verdict", "attacks withstood, mean DSR"}
    assert not failures(half, **kept, max_unscored=0.6)
    one = finished(tmp_path / "one", without_verdicts(records, lambda r: r.attempt.attack == "aim"))
    found = failures(one, **kept, max_unscored=0.1)  # few of all, but all of one attack
    assert set(found) == {"attacks withstood, mean DSR", "lowest DSR of any attack"}
    assert all("30 of 30 under aim have no verdict" in why for why in found.values())
    plain = [r for r in records if r.attempt.attack == "direct" and r.prompt.kind != "benign"]
    found = failures(finished(tmp_path / "plain", plain), **kept)
    assert "no attack was tried" in found["attacks withstood, mean DSR"]
    assert "not measured" in found["benign requests refused"]
    write_run(tmp_path / "torn", "evaluate", records[:200])
    assert "has not finished" in failures(tmp_path / "torn", min_dsr=0.0)["run finished"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "no limit to check"),
        (("--max-unscored", ".1"), "no limit to check"),
        (("--min-dsr", "95"), "a share from 0 to 1"),
    ],
)
def test_limits_that_cannot_be(runs, words, told):
    code, out, err = sirl("check", runs["safe"], *words)
    assert (code, out) == (2, "")
    assert told in err


def test_every_limit_has_its_rule():
    assert set(RULES) == set(Limits.__dataclass_fields__) - {"max_unscored"}


def test_the_workflow_of_the_examples_runs_commands_that_exist():
    job = yaml.safe_load((ROOT / "examples" / "check.yml").read_text())["jobs"]["check"]
    lines = [line for step in job["steps"] for line in step.get("run", "").replace("\\\n", " ").splitlines()]
    asked = [line.strip() for line in lines if line.strip().startswith("sirl ")]
    assert {line.split()[1] for line in asked} == {"evaluate", "check", "report"}
    for line in asked:
        parse(line, complete=True)
