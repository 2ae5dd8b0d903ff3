# %% [markdown]
# # A pair of your own
#
# Ratings of twelve questions by four hundred people, with some answers missing; a factor model in Pyro, as one would write it for
# `pyro.infer.SVI`.

# %%
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import nn

import ppl_vae as pv

rng = np.random.default_rng(0)
traits = rng.normal(size=(400, 2))
ratings = traits @ rng.normal(size=(2, 12)) + 0.7 * rng.normal(size=(400, 12))
ratings[rng.random(ratings.shape) < 0.1] = np.nan
ratings.shape, np.isnan(ratings).mean()


# %% [markdown]
# Missing answers are masked in the observation. The guide reads them as zeros, beside an indicator.


# %%
class Ratings(nn.Module):
    def __init__(self, input_dim, z_dim=2):
        super().__init__()
        self.z_dim = z_dim
        self.decoder = nn.Linear(z_dim, input_dim)
        self.encoder = nn.Linear(2 * input_dim, 2 * z_dim)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        sigma = pyro.param("sigma", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("people", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.z_dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), sigma).mask(~x.isnan()).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        seen = torch.cat([x.nan_to_num(), x.isnan().to(x.dtype)], -1)
        with pyro.plate("people", len(x)):
            loc, log_scale = self.encoder(seen).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


run = pv.train(Ratings, data=ratings, missing=True, epochs=60, learning_rate=0.02, out="runs/ratings")
run

# %%
run.plot()

# %% [markdown]
# The model is linear and Gaussian, so that the evidence of the answers that were given is a closed form.

# %%
result = pv.measure(run.model, run.guide, run.data["test"])
result

# %% [markdown]
# The same functions measure a pair that was trained elsewhere: `pv.measure(model, guide, x)` takes any Pyro functions.
# [Recipes](../recipes.md) has convolutions, hierarchies and mixtures.
