import pytest
import torch
from ppl_vae.experiments import toy_channel as experiment
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.toy_channel import ToyChannel

from ppl_vae.data import load_corpus
from ppl_vae.data.readers.channel import CHANNEL_LEVELS, channel_law
from ppl_vae.diagnostics.information.rates import measure_rates, probe
from ppl_vae.distributions.tables import mutual_information
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.studies.coded_tables import exact, optimal_codes

pytestmark = pytest.mark.usefixtures("float64")


def every(levels=30):
    return torch.eye(levels)


def test_is_a_pair_of_tables():
    model, x = ToyChannel(states=4, shape=(5,)), every(5)
    joint = log_joint(model, x, {"z": torch.arange(4)[:, None].expand(4, 5)})
    torch.testing.assert_close(joint, model.prior.log_softmax(0)[:, None] + model.decoder.log_softmax(1))
    found = measure(model, MeanField(model, x, layers=0), x)
    torch.testing.assert_close(found.evidence.pointwise, joint.logsumexp(0).detach())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"states": 1}, "at least 2 states"),
        ({"shape": (5, 5)}, "must be a vector"),
        ({"spread": -1.0}, "spread must not"),
    ],
)
def test_what_it_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ToyChannel(**options)


@pytest.mark.parametrize("information", [0.1, 0.5])
def test_the_law_has_its_information_and_a_logistic_posterior(information):
    law = torch.from_numpy(channel_law(information))
    assert mutual_information(law) == pytest.approx(information, abs=1e-10)
    slopes = (law[1] / law[0]).log().diff() / torch.from_numpy(CHANNEL_LEVELS).diff()
    torch.testing.assert_close(slopes, slopes[:1].expand_as(slopes))
    with pytest.raises(ValueError, match="between 0.01 and 0.61"):
        channel_law(0.7)


def test_the_corpus_is_drawn_from_it():
    x = load_corpus("channel", validation=0).train.values
    law = torch.from_numpy(channel_law()).sum(0)
    spread = (law * (1 - law) / len(x)).sqrt()
    assert ((x.double().mean(0) - law).abs() < 5 * spread + 1e-12).all()


def test_exact_figures_are_those_of_the_package():
    model, x = ToyChannel(), every()
    guide = experiment.LevelGuide(30, "affine")
    law = torch.from_numpy(channel_law())
    with torch.no_grad():
        tables = guide.logits(x @ guide.levels).softmax(1), model.prior.softmax(0), model.decoder.softmax(1)
        found = exact(law, *tables)
        with evaluating(model, guide):
            rates = measure_rates(model, guide, x, probe(model, guide, x), 2)
    for name in ("rate", "distortion"):
        pointwise = getattr(rates, name).pointwise
        assert (law.sum(0) * pointwise).sum().item() == pytest.approx(found[name])


def test_what_comes_through_processing_is_no_more_than_what_went_in():
    law = torch.from_numpy(channel_law())
    known = optimal_codes(law, 0.5)
    assert known["all"]["I(z; true bit)"] == pytest.approx(0.5)
    for code in known.values():
        assert code["I(z; true bit)"] <= min(code["I(x; z)"], 0.5) + 1e-12
        assert code["rate"] == pytest.approx(code["I(x; z)"])
    assert known["true process"]["distance"] == pytest.approx(0, abs=1e-12)
