import math

import pytest
import torch

from ppl_vae.data.readers.channel import channel_law
from ppl_vae.studies.coded_tables import exact, ideal, optimal_codes


def test_tables_by_hand():
    """Two levels, each sent from its bit; an encoder that errs, with a decoder and a marginal that are not its best."""
    law = torch.tensor([[0.25, 0.0], [0.0, 0.75]], dtype=torch.float64)
    encoder = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    marginal = torch.tensor([0.5, 0.5], dtype=torch.float64)
    decoder = torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=torch.float64)
    values = exact(law, encoder, marginal, decoder)
    joint = {(x, z): law[:, x].sum().item() * encoder[x, z].item() for x in range(2) for z in range(2)}
    rate = sum(p * math.log(encoder[x, z].item() / 0.5) for (x, z), p in joint.items())
    distortion = -sum(p * math.log(decoder[z, x].item()) for (x, z), p in joint.items())
    sums = [joint[0, z] + joint[1, z] for z in range(2)]
    information = sum(p * math.log(encoder[x, z].item() / sums[z]) for (x, z), p in joint.items())
    assert values["rate"] == pytest.approx(rate)
    assert values["distortion"] == pytest.approx(distortion)
    assert values["ELBO"] == pytest.approx(-rate - distortion)
    assert values["I(x; z)"] == values["I(z; true bit)"] == pytest.approx(information)
    # State 0 comes from bit 0 (0.225 against 0.15): the model's joint is the table m(z) d(x | z).
    distance = (abs(0.35 - 0.25) + 0.15 + 0.2 + abs(0.3 - 0.75)) / 2
    assert values["distance"] == pytest.approx(distance)
    assert ideal(law, encoder)["ELBO"] > values["ELBO"]
    assert ideal(law, encoder)["rate"] == pytest.approx(information)


def test_optimal_codes_have_one_elbo_and_the_rates_they_are_said_to_have():
    law = torch.from_numpy(channel_law(0.4))
    codes = optimal_codes(law, 0.4)
    data = law.sum(0)
    entropy = -(data * data.log()).sum().item()
    rates = {"nothing": 0.0, "true process": 0.4, "erasure": 0.4, "all": entropy}
    for name, rate in rates.items():
        assert codes[name]["rate"] == pytest.approx(rate, abs=1e-9)
        assert codes[name]["ELBO"] == pytest.approx(-entropy)
    assert codes["true process"]["distance"] == pytest.approx(0, abs=1e-12)
