"""Claims of the experiment on a noisy curve, from numbers made up for each case."""

import pytest
import torch
from ppl_vae.experiments.sharpness import claims

from ppl_vae.studies.decisions import decide
from ppl_vae.studies.grid import Cells

pytestmark = pytest.mark.usefixtures("float64")

KINDS = ["F 1", "F 0.1"]
MEANS = {"F 1": -3.0, "F 0.1": -1.0, "LS": -0.5, "LV": 0.0, "F*": -1.5, "replay": -0.5}


def cells(elbo, evidence=None, spread=0.01, seeds=5):
    """Two data per seed; conditions of a seed differ from their means by amounts that differ between conditions."""
    cells = Cells()
    for place, kind in enumerate(elbo):
        off = [spread * ((3 * place + 2 * seed) % 5 - 2) for seed in range(seeds)]
        cells[kind] = [
            {
                "elbo": elbo[kind] + each + torch.tensor([-1.0, 1.0]),
                "evidence": (evidence or elbo)[kind] + each + torch.tensor([-1.0, 1.0]),
            }
            for each in off
        ]
    return cells


def answers(claims):
    return {decision.claim.text: decision.answer for decision in decide(claims)}


def test_the_order_holds_where_it_does():
    result = claims(cells(MEANS), KINDS)
    assert list(answers(result).values()) == ["held"] * 9
    assert result[0].text == "LV has the higher ELBO than LS"
    assert result[0].figures == "+0.5 +- 0.012 over 5 seeds"


@pytest.mark.parametrize(
    ("worse", "fails"),
    [
        ({"LV": -0.6}, {"LV has the higher ELBO than LS"}),
        ({"LS": -1.2, "replay": -1.2}, {"LS has the higher ELBO than every F"}),
        ({"F*": -0.9}, {"some F has the higher ELBO than F*"}),
        ({"F*": -0.4}, {"some F has the higher ELBO than F*", "LS has the higher ELBO than F*"}),
        ({"replay": -0.7}, {"with its course of sigma replayed a fixed one ends within 0.1 nats of LS"}),
    ],
)
def test_each_claim_fails_where_it_should(worse, fails):
    """The evidence is as before: its claims do not follow the bound's."""
    result = answers(claims(cells(MEANS | worse, MEANS), KINDS))
    assert {text for text, answer in result.items() if answer != "held"} == fails
    assert {text for text, answer in result.items() if answer == "did not hold"} == fails


def test_a_tighter_bound_is_no_better_model():
    result = answers(claims(cells(MEANS, dict.fromkeys(MEANS, 0.2)), KINDS))
    assert [answer for text, answer in result.items() if "ELBO" in text] == ["held"] * 4
    assert "held" not in [answer for text, answer in result.items() if "evidence" in text]


def test_a_difference_within_its_error_is_undecided():
    result = answers(claims(cells(MEANS | {"LV": -0.49}, spread=0.2), KINDS))
    assert result["LV has the higher ELBO than LS"] == "undecided"


def test_one_seed_decides_nothing():
    decisions = decide(claims(cells(MEANS, seeds=1), KINDS))
    assert all(each.answer == "undecided" and "one seed" in str(each) for each in decisions)
