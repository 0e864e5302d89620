"""What docs/performance.md states, guarded coarsely: a change that makes us slower than the peer fails."""

import json
import sys
from pathlib import Path

import pytest

from sirl.lm import load_lm
from sirl.organism import WEIGHTS

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def benchmarks():
    sys.path.append(str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def test_sampling_under_an_attack_is_faster_than_generate_and_the_report_can_be_read(
    benchmarks, tmp_path, capsys
):
    import pairing
    import sampling

    found = sampling.claims(load_lm(WEIGHTS / "llama"), "organism:llama", length=16, rounds=5)
    pairing.report("sampling", found, tmp_path)
    told = json.loads((tmp_path / "sampling.json").read_text())
    assert [row["what"] for row in told["claims"]] == [one.what for one in found]
    assert all(one.line in capsys.readouterr().out for one in found[:1])
    attacked = next(one for one in found if "under one attack" in one.what)
    assert attacked.ratio < 0.9, attacked  # .5 to .6 on a quiet machine
