# %% [markdown]
# # Gradient estimators
#
# All are unbiased; they differ in noise and cost. Here f is the log-likelihood of a small network of eight bits, and the exact gradient
# is a sum over 256 codes.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

from ppl_vae.estimators import estimate
from ppl_vae.objectives.choice import make_estimator

torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).requires_grad_(False)


def f(z):
    return 4 * network(z).squeeze(-1)


logits = torch.randn(1, 8)
exact = estimate(make_estimator("enumerate"), f, logits)
exact

# %%
rows = {}
for name, draws in {"arm": 1, "disarm": 1, "loo": 2, "arms": 2, "double_cv": 2, "local": 1}.items():
    estimator = make_estimator(name, control=False)
    samples = torch.stack([estimate(estimator, f, logits, draws=draws) for _ in range(1500)])
    bias = (samples.mean(0) - exact).norm() / exact.norm()
    noise = (samples - exact).square().sum((1, 2)).mean().sqrt() / exact.norm()
    rows[name] = {
        "draws": draws,
        "noise": noise.item(),
        "expected distance of the mean": noise.item() / 1500**0.5,
        "distance": bias.item(),
    }
table = pd.DataFrame(rows).T
table

# %% [markdown]
# The mean of 1,500 estimates is as near to the exact gradient as chance allows, for each of them: none is biased. Their noise differs
# many times over.

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.barh(table.index, table["noise"], color="#0072B2")
axes.set(xlabel="root mean square error of one estimate over the norm of the gradient")
axes.invert_yaxis()
plt.show()

# %% [markdown]
# In a training the estimator is an argument of the objective, `pv.DiscreteELBO("disarm")`, or an option, `--estimator disarm`; `auto`
# takes the one that fits the pair. [Choosing an estimator](../estimators.md) has noise and time on documents.
