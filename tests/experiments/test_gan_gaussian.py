import pytest
import torch
from ppl_vae.experiments.gan_gaussian import ASLEEP, FIXED, KEPT, LEARNED, WAYS, Found, above, claims_of, rows_of

LOWER = {ASLEEP: 100.0, KEPT: 100.0, FIXED: 60.0, LEARNED: 80.0}
ELBO = {ASLEEP: -900.0, KEPT: -50.0, FIXED: 20.0, LEARNED: 50.0}


def found(seeds: int = 3, width: float = 10.0) -> Found:
    """What a study might have measured: of each seed two images annealed, of others the ELBO."""
    apart = torch.tensor([-1.0, 1.0])
    pairs = {
        (name, what): [
            {
                "elbo": torch.full((5,), ELBO[what] + seed + 7),
                "elbo of few": ELBO[what] + seed + apart,
                "distance of samples": torch.tensor({ASLEEP: 1.0, KEPT: 1.0, FIXED: 50.0, LEARNED: 40.0}[what] + seed),
                "distance of means": torch.tensor(1.0),
                "sigma": torch.tensor(0.05),
            }
            # Only of pairs that were moved is there an evidence of their own.
            | ({"lower": LOWER[what] + seed + apart, "width": width + apart[:1]} if what in (FIXED, LEARNED) else {})
            for seed in range(seeds)
        ]
        for name, what in WAYS
    }
    truth = [
        {"lower": 100.0 + seed + apart, "upper": 104.0 + seed + apart, "width": 4 + apart} for seed in range(seeds)
    ]
    return Found(pairs, truth)


def held(shown: Found) -> dict[str, bool]:
    return {claim.text: claim.held for claim in claims_of(shown)}


@pytest.mark.parametrize("way", WAYS)
def test_gap_and_loss_are_of_the_images_that_were_annealed(way):
    shown = found()
    what = way[1]
    assert shown.gap(way).tolist() == [LOWER[what] - ELBO[what]] * 3
    assert shown.lost(way).tolist() == [104 - LOWER[what]] * 3
    quantities = {row.quantity: row.mean for row in rows_of(way, shown, paper=False)}
    assert quantities["ELBO"] == ELBO[what] + 8
    assert quantities["gap, at least"] == LOWER[what] - ELBO[what]
    assert ("likelihood lost, eq. (4), at most" in quantities) == (what in (FIXED, LEARNED))


def test_a_loss_within_the_width_of_the_bounds_is_none():
    lost = [text for text in held(found()) if "likelihood is lost" in text]
    assert len(lost) == 2
    assert all(held(found(width=10.0))[text] for text in lost)
    assert [held(found(width=30.0))[text] for text in lost] == [True, False]  # 40 and 20 nats below the truth
    assert not any(held(found(width=50.0))[text] for text in lost)


def test_claims_can_go_either_way():
    shown = held(found())
    assert shown[f"the Frechet distance worsens from {ASLEEP} to {FIXED}"]
    assert not shown[f"the Frechet distance worsens from {FIXED} to {LEARNED}"]
    assert not shown[f"{FIXED}: under a guide of low rank the Frechet distance rises less"]


@pytest.mark.parametrize(
    ("values", "clear"),
    [([3.0], True), ([-3.0], False), ([3.0, 3.5], True), ([1.0, 3.0], False), ([1.0, 3.0, 2.0], False)],
)
def test_a_difference_must_exceed_what_few_seeds_leave_to_chance(values, clear):
    assert above(torch.tensor(values)) is clear
