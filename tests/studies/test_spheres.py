import numpy as np
import pytest
from scipy.special import gammaln

from ppl_vae.studies.spheres import best_evidence, best_radius, log_density, log_kernel, resultant, threshold

DIMENSIONS = [2, 3, 4, 10, 41, 42, 50, 200, 1000]


def by_angle(k, dimensions):
    """Log-kernel and mean cosine by the integral over the angle, whose integrand vanishes smoothly at both ends."""
    angle = np.linspace(0, np.pi, 20_001)[1:-1]
    exponent = k * np.cos(angle) + (dimensions - 2) * np.log(np.sin(angle))
    high = exponent.max()
    weight = np.exp(exponent - high)
    area = 0.5 * np.log(np.pi) + gammaln((dimensions - 1) / 2) - gammaln(dimensions / 2)
    kernel = high + np.log(weight.sum() * (angle[1] - angle[0])) - area
    return kernel, (np.cos(angle) * weight).sum() / weight.sum()


@pytest.mark.parametrize("dimensions", DIMENSIONS[3:])
@pytest.mark.parametrize("k", [1e-3, 0.3, 9.0, 150.0, 4e3])
def test_the_kernel_and_its_slope_are_integrals_over_the_angle(dimensions, k):
    kernel, cosine = by_angle(k, dimensions)
    assert float(log_kernel(k, dimensions)) == pytest.approx(kernel, abs=1e-11, rel=1e-12)
    assert float(resultant(k, dimensions)) == pytest.approx(cosine, rel=1e-10)


def test_a_circle_has_a_periodic_integrand():
    angle = np.linspace(0, 2 * np.pi, 4_000, endpoint=False)
    for k in (1e-3, 0.3, 9.0, 150.0):
        weight = np.exp(k * (np.cos(angle) - 1))
        assert float(log_kernel(k, 2)) == pytest.approx(k + np.log(weight.mean()), abs=1e-13, rel=1e-13)
        assert float(resultant(k, 2)) == pytest.approx((np.cos(angle) * weight).sum() / weight.sum(), rel=1e-12)


def test_three_dimensions_have_hyperbolic_functions():
    k = np.array([0.02, 0.5, 3.0, 30.0])
    np.testing.assert_allclose(log_kernel(k, 3), np.log(np.sinh(k) / k), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(resultant(k, 3), 1 / np.tanh(k) - 1 / k, rtol=1e-11)


def test_nothing_under_or_overflows():
    k = np.array([0.0, 1e-300, 1e-8, 1.0, 1e3, 1e6])
    for dimensions in DIMENSIONS:
        kernel, cosine = log_kernel(k, dimensions), resultant(k, dimensions)
        assert np.isfinite(kernel).all() and np.isfinite(cosine).all()
        assert kernel[0] == cosine[0] == 0
        assert (np.diff(kernel) >= 0).all() and (cosine < 1).all()
        assert cosine[2] == pytest.approx(1e-8 / dimensions)


def test_both_forms_of_the_kernel_meet(monkeypatch):
    k = np.geomspace(0.011, 1e5, 50)
    one = log_kernel(k, 60)
    monkeypatch.setattr("ppl_vae.studies.spheres.UNIFORM", 100.0)
    np.testing.assert_allclose(one, log_kernel(k, 60), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_the_best_radius_maximises_the_density(dimensions):
    for share in (0.05, 0.3, 0.7, 0.9, 0.99, 0.9999):
        sigma = 2.5 * share / np.sqrt(dimensions)
        best = best_radius(2.5, sigma, dimensions)
        assert best == pytest.approx(2.5 * float(resultant(2.5 * best / sigma**2, dimensions)), rel=1e-11)
        radii = best * np.array([0.0, 0.9, 0.999, 1.0, 1.001, 1.1])
        assert np.argmax(log_density(2.5, radii, sigma, dimensions)) == 3
        assert best_evidence(2.5, sigma, dimensions) > log_density(2.5, 0.0, sigma, dimensions)


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_the_threshold_is_sharp_and_below_that_of_the_paper(dimensions):
    """Berger and Sebag (2020), theorem 1: R / sqrt(D - 1) suffices; the means collapse before that."""
    at = threshold(2.5, dimensions)
    assert at < 2.5 / np.sqrt(dimensions - 1)
    assert best_radius(2.5, at * (1 - 1e-9), dimensions) > 0
    assert best_radius(2.5, at * (1 + 1e-9), dimensions) == 0 == best_radius(2.5, 10 * at, dimensions)
    between = (at + 2.5 / np.sqrt(dimensions - 1)) / 2
    radii = np.linspace(0, 5, 501)
    assert np.argmax(log_density(2.5, radii, between, dimensions)) == 0
    assert np.argmax(log_density(2.5, radii, 0.99 * at, dimensions)) > 0


def test_near_the_threshold_the_radius_grows_like_a_root():
    r"""From A_D(k) = k / D - k^3 / (D^2 (D + 2)) + ..., with s = R^2 / (D sigma^2)."""
    for dimensions in DIMENSIONS:
        sigma = (1 - 1e-6) / np.sqrt(dimensions)
        s = 1 / (dimensions * sigma**2)
        root = np.sqrt((1 - 1 / s) * dimensions * (dimensions + 2)) * sigma**2
        assert best_radius(1.0, sigma, dimensions) == pytest.approx(root, rel=1e-5)


def test_with_little_noise_the_means_lie_on_the_sphere_but_for_the_curvature():
    """r* = R - (D - 1) sigma^2 / 2 R + ..., as A_D(k) = 1 - (D - 1) / 2 k + ..."""
    for dimensions in DIMENSIONS:
        sigma = 1e-2 / dimensions
        assert 1 - best_radius(1.0, sigma, dimensions) == pytest.approx((dimensions - 1) * sigma**2 / 2, rel=1e-3)


def test_many_dimensions_are_those_of_the_linear_model():
    """Points of a high sphere are nearly normal, for which r^2 = R^2 - D sigma^2 is the best."""
    for share in (0.5, 0.9):
        sigma = share / np.sqrt(1000)
        assert best_radius(1.0, sigma, 1000) == pytest.approx(np.sqrt(1 - share**2), rel=2e-3)


def test_the_density_integrates_to_one():
    for dimensions in (2, 3, 10):
        distance = np.linspace(0, 8, 4_001)
        sphere = np.log(2) + dimensions / 2 * np.log(np.pi) - gammaln(dimensions / 2)
        with np.errstate(divide="ignore"):
            log_p = log_density(distance, 1.3, 0.7, dimensions) + (dimensions - 1) * np.log(distance) + sphere
        assert np.exp(log_p).sum() * distance[1] == pytest.approx(1, abs=1e-6)


def test_what_is_no_sphere_is_refused():
    for radius, sigma, dimensions in ((0.0, 1.0, 2), (1.0, -1.0, 2), (1.0, 1.0, 1)):
        with pytest.raises(ValueError, match="a positive radius, noise and at least 2 dimensions, got"):
            best_radius(radius, sigma, dimensions)
