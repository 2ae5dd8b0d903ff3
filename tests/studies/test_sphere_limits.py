import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ppl_vae.studies.sphere_limits import draw_density, exact_claims, scales
from ppl_vae.studies.spheres import best_radius


def test_the_noise_lies_on_all_sides_of_both_thresholds():
    sigma = scales(3, [0.5])
    assert sigma["0.5 R/sqrt(D)"] < 3**-0.5 < sigma["between"] < 2**-0.5 < sigma["above"]


def test_the_exact_claims_hold():
    claims = exact_claims()
    assert len(claims) == 4 and all(claim.is_exact for claim in claims)
    assert [claim.p_false for claim in claims] == [0.0] * 4, [claim.figures for claim in claims]


def test_the_best_radius_is_drawn_on_the_density():
    figure = Figure(layout="constrained")
    draw_density(figure)
    FigureCanvasAgg(figure).draw()
    for axes, dimensions in zip(figure.axes, (2, 10, 50), strict=False):
        best = axes.lines[0].get_xydata()
        for distance, radius in best[2::20]:
            assert best_radius(distance, 1.0, dimensions) == pytest.approx(radius)
