# %% [markdown]
# # Family or network?
#
# A linear Gaussian model whose posterior is known and correlated. The guide's normals are independent, their means a tenth too short
# and their widths wrong: both parts of the gap are there, and each remedy mends its own.

# %%
import pyro
import pyro.distributions as dist
import torch

import ppl_vae as pv

weight = torch.tensor([[1.0, -2.0, 0.5], [0.5, -1.0, 3.0]])
precision = torch.eye(2) + 4 * weight @ weight.T  # of the posterior
mean = 4 * weight.T @ precision.inverse()  # of the posterior, as a map from x


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ weight, 0.5).to_event(1), obs=x)


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.9 * x @ mean, 0.2).to_event(1))


torch.manual_seed(0)
x = torch.randn(100, 2) @ weight + 0.5 * torch.randn(100, 3)
gap = pv.split_gap(model, guide, x)
gap

# %%
gap.plot("Both parts are there")

# %% [markdown]
# **A better network.** The best independent normals lie around the posterior's mean:


# %%
def centred(x):
    scale = precision.diagonal().rsqrt()
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x @ mean, scale).to_event(1))


pv.split_gap(model, centred, x)

# %% [markdown]
# Only the family's part is left. **A richer family** takes it, too:


# %%
def correlated(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.MultivariateNormal(x @ mean, covariance_matrix=precision.inverse()))


ladder = pv.ladder(model, {"poor": guide, "centred": centred, "correlated": correlated}, x, steps=200)
ladder

# %%
ladder.plot("What each step up gains")

# %% [markdown]
# [Reading a gap](../reading-a-gap.md) is the decision table; [how a gap is split](../gap.md) says how the parts are found.
