import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
from matplotlib import pyplot
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text

from ppl_vae.evidence.defensive import defensive_importance
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.log_weight import log_joint, log_proposal
from ppl_vae.runs.export_arviz import save, to_arviz
from tests.support.cli import json_of, succeed
from tests.support.small_pairs import BitsOfPoints, documents, number_with_noise
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

GROUPS = {"posterior", "log_likelihood", "sample_stats", "observed_data", "posterior_predictive"}


def exported(kind: str, draws: int = 200, **options):
    if kind == "documents":
        x = documents(12, 9)
        model = Text(9, bits=3)
        guide = LinearCounts(model, x)
    else:
        pair, x = BitsOfPoints(3), torch.randn(12, 3)
        model, guide = pair.model, pair.guide
    return model, guide, x, to_arviz(model, guide, x, draws=draws, **options)


@pytest.mark.parametrize("kind", ["documents", "points"])
def test_densities_belong_to_the_draws(kind):
    model, guide, x, found = exported(kind)
    assert set(found.groups()) == GROUPS
    assert found.posterior.z.dims == ("chain", "draw", "datum", "z_dim_0")
    assert found.posterior.z.dtype == np.int8
    values = {"z": torch.from_numpy(found.posterior.z.values[0]).double()}
    joint, proposal = log_joint(model, x, values).detach(), log_proposal(guide, x, values).detach()
    stats = found.sample_stats
    for name, expected in (("log_joint", joint), ("log_proposal", proposal), ("log_weight", joint - proposal)):
        assert stats[name].dims == ("chain", "draw", "datum")
        np.testing.assert_allclose(stats[name][0], expected)
    prior = torch.tensor(0.5 if kind == "documents" else 0.3)
    log_prior = dist.Bernoulli(prior).expand([3]).to_event(1).log_prob(values["z"])
    np.testing.assert_allclose(found.log_likelihood.x[0], joint - log_prior)


def test_weights_give_bound_and_evidence():
    model, guide, x, found = exported("points", 4000)
    exact = measure(model, guide, x)
    weights = torch.from_numpy(found.sample_stats.log_weight.values[0])
    assert_mean(weights, exact.elbo.pointwise)
    assert_mean((weights - exact.evidence.pointwise).exp(), torch.ones(12))


def test_k_hat_is_that_of_the_measurement():
    pair, x = BitsOfPoints(3), torch.randn(12, 3)
    torch.manual_seed(5)
    with torch.no_grad():
        expected = defensive_importance(pair.model, pair.guide, x, 100, 0.0).evidence.k_hat
    torch.manual_seed(5)
    found = to_arviz(pair.model, pair.guide, x, draws=100)
    np.testing.assert_allclose(found.sample_stats.k_hat, expected)
    assert found.sample_stats.k_hat.limit == 0.5


def test_k_hat_of_weights_that_are_constant_and_of_draws_that_are_all_the_same():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(0 * z[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.tensor([[0.0, 0.0], [200.0, 200.0]])).to_event(1))

    found = to_arviz(model, guide, torch.zeros(2), draws=50)
    assert np.isneginf(found.sample_stats.k_hat.values[0])
    assert np.isnan(found.sample_stats.k_hat.values[1])


def test_documents_stay_sparse_and_come_back():
    _, _, x, found = exported("documents", predictive=4)
    data = found.observed_data
    table = scipy.sparse.coo_array(
        (data["count"].values, (data.document.values, data.word.values)), shape=(data.documents, data.vocabulary)
    )
    assert (table.tocsr() != x.to_csr()).nnz == 0
    drawn = found.posterior_predictive
    for draw in range(4):
        mine = drawn.draw.values == draw
        lengths = np.bincount(drawn.document.values[mine], drawn["count"].values[mine], minlength=12)
        np.testing.assert_array_equal(lengths, x.lengths)
    assert set(drawn.dims) == {"entry"}


def test_predictive_points_come_from_their_draw():
    pair, x = BitsOfPoints(3), torch.randn(12, 3)
    pair.noise.data[:] = -20
    found = to_arviz(pair.model, pair.guide, x, draws=6, predictive=3)
    assert found.posterior_predictive.x.dims == ("chain", "draw", "datum", "x_dim_0")
    assert found.posterior_predictive.x.shape == (1, 3, 12, 3)
    z = torch.from_numpy(found.posterior.z.values[0, :3]).double()
    np.testing.assert_allclose(found.posterior_predictive.x[0], torch.tanh(2 * z @ pair.map), atol=1e-6)
    np.testing.assert_array_equal(found.observed_data.x, x)
    assert "posterior_predictive" not in to_arviz(pair.model, pair.guide, x, draws=6, predictive=0).groups()


@pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")  # ArviZ's own, of new matplotlib
@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto distribution")  # what az.loo is for
@pytest.mark.parametrize("kind", ["documents", "points"])
def test_arviz_reads_the_file_and_works_with_it(kind, tmp_path):
    import arviz as az

    _, _, _, found = exported(kind)
    save(found, tmp_path / "new" / "arviz.nc")
    kept = az.from_netcdf(str(tmp_path / "new" / "arviz.nc"))
    assert set(kept.groups()) == GROUPS
    for group in GROUPS:
        assert kept[group].identical(found[group]), group
    assert "not of the posterior" in kept.attrs["notes"]
    assert len(az.summary(kept.posterior.isel(datum=slice(2)), kind="stats")) == 6
    loo = az.loo(kept, pointwise=True)
    assert loo.loo_i.shape == (12,)
    axes = az.plot_khat(loo)
    pyplot.close(axes.figure)


def test_under_the_posterior_the_harmonic_mean_of_the_likelihood_is_the_evidence():
    """What the docstring says of az.loo: a datum leaves together with its latents."""
    model = number_with_noise(2.0)

    def posterior(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.2 * x, 0.8**0.5))

    x = torch.randn(20)
    evidence = dist.Normal(0.0, 5**0.5).log_prob(x)
    found = to_arviz(model, posterior, x, draws=4000, predictive=0)
    assert np.isneginf(found.sample_stats.k_hat).all()
    assert_mean((evidence - torch.from_numpy(found.log_likelihood.x.values[0])).exp(), torch.ones(20))


def test_latents_of_every_kind_and_positions_of_a_sample():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))
            pyro.sample("b", dist.Categorical(torch.ones(4) / 4))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    found = to_arviz(
        model, poutine_guide(model), torch.randn(3), draws=5, positions=torch.tensor([4, 7, 9]), predictive=2
    )
    assert found.posterior.a.dims == ("chain", "draw", "datum", "a_dim_0", "a_dim_1")
    assert found.posterior.b.dtype == np.int64
    assert found.posterior.datum.values.tolist() == [4, 7, 9]
    assert found.observed_data.datum.values.tolist() == [4, 7, 9]
    np.testing.assert_allclose(found.sample_stats.log_weight, found.log_likelihood.x)
    whole = to_arviz(*(f := bits_that_depend())[:2], f[2], draws=5)
    assert whole.posterior.z.dtype == np.int8


def poutine_guide(model):
    """The prior as a guide."""

    def guide(x):
        return pyro.poutine.block(model, hide=["x"])(x)

    return guide


def bits_that_depend():
    x, model = documents(4, 9), Text(9, bits=3)
    return model, Full(model, x), x


def test_blocks_do_not_matter(monkeypatch):
    pair, x = BitsOfPoints(3), torch.randn(20, 3)
    pair.weight.data[:] = 1000
    whole = to_arviz(pair.model, pair.guide, x, draws=7)
    done = []
    monkeypatch.setattr("ppl_vae.programs.blocks.CELLS", 24)
    parts = to_arviz(pair.model, pair.guide, x, draws=7, progress=done.append)
    assert sum(done) == (7 + 5) * 20
    assert whole.posterior.identical(parts.posterior)
    np.testing.assert_allclose(whole.sample_stats.log_weight, parts.sample_stats.log_weight)


def test_misuse_is_named():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)

    def nothing(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="no data to draw codes for"):
        to_arviz(pair.model, pair.guide, x[:0])
    with pytest.raises(ValueError, match="at least 2 draws per datum, got 1, and from 0 to 1 predictive ones, got 5"):
        to_arviz(pair.model, pair.guide, x, draws=1)
    with pytest.raises(ValueError, match="the model observes nothing"):
        to_arviz(nothing, pair.guide, x)


def test_a_full_disk_keeps_the_last_good_file(tmp_path):
    resource = pytest.importorskip("resource", reason="needs limits of processes")
    found = exported("points")[3]
    path = tmp_path / "arviz.nc"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(ValueError, match="cannot write .*arviz.nc: File too large; its last good version is kept"):
            save(found, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["arviz.nc"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(ValueError, match="cannot write .*arviz.nc: .*; choose another folder, or make room"):
        save(exported("points", 4, predictive=1)[3], tmp_path / "f" / "arviz.nc")


def test_a_run_is_exported(trained):
    import arviz as az

    content = json_of("export", "r", "--draws", "30", "--data", "20")
    assert content["data"] == 20
    assert content["groups"]["sample_stats"] == ["log_weight", "log_joint", "log_proposal", "k_hat"]
    kept = az.from_netcdf(content["file"])
    assert kept.posterior.sizes["draw"] == 30
    assert set(kept.observed_data.document.values) == set(kept.posterior.datum.values)
    assert "arviz.from_netcdf('r/arviz-train.nc')" in succeed("export", "r", "--split", "train", "--draws", "2").output
