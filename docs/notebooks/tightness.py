# %% [markdown]
# # Can a pair be tight?
#
# Four Gaussians at the corners of a square, numbered by two bits. Whether independent bits can be the posterior depends only on the
# order of the codes around the square, and can be tested without training.

# %%
import pyro
import pyro.distributions as dist
import torch

import ppl_vae as pv

ORDERS = {
    "Gray": [[-1, -1], [1, -1], [-1, 1], [1, 1]],  # neighbours differ by one bit
    "natural": [[-1, -1], [1, -1], [1, 1], [-1, 1]],
}


def model_of(corners):
    centres = torch.tensor(corners, dtype=torch.float)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(centres[(2 * z[..., 0] + z[..., 1]).long()], 1.0).to_event(1), obs=x)

    return model


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Bernoulli(logits=2 * x).to_event(1))


torch.manual_seed(0)
x = torch.randn(300, 2)
verdicts = {order: pv.tightness(model_of(corners), guide, x) for order, corners in ORDERS.items()}
for order, result in verdicts.items():
    print(f"{order}: {result.status}. {result.verdict}")

# %%
verdicts["natural"]

# %%
verdicts["natural"].plot("Natural order: the posterior lies outside the family")

# %% [markdown]
# Where in the plane the two bits of the posterior depend on each other: their covariance under p(z | x).

# %%
import matplotlib.pyplot as plt

grid = torch.stack(torch.meshgrid(torch.linspace(-3, 3, 60), torch.linspace(-3, 3, 60), indexing="xy"), -1)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for panel, (order, corners) in zip(axes, ORDERS.items()):
    centres = torch.tensor(corners, dtype=torch.float)
    posterior = (-0.5 * (grid[..., None, :] - centres).square().sum(-1)).softmax(-1)
    first, second, both = posterior[..., 2:].sum(-1), posterior[..., [1, 3]].sum(-1), posterior[..., 3]
    image = panel.pcolormesh(grid[..., 0], grid[..., 1], both - first * second, cmap="PuOr", vmin=-0.25, vmax=0.25)
    for code, (a, b) in enumerate(corners):
        panel.annotate(f"{code:02b}", (a, b), ha="center", va="center")
    panel.set(title=f"{order} order", aspect="equal")
figure.colorbar(image, ax=axes, label="covariance of the two bits")
plt.show()
