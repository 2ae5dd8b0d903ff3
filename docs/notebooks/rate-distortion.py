# %% [markdown]
# # Rate and distortion
#
# An ELBO is -(D + R): pairs of very different rate can have the same one. Here the weight of the rate moves a small model along the plane,
# and the decoder's own curve shows what the best encoder would reach.

# %%
import matplotlib.pyplot as plt

import ppl_vae as pv

options = {"epochs": 4, "batch_size": 64, "learning_rate": 0.003}
options |= {"guide_width": 64, "learn_centres": True}
runs = {
    beta: pv.train("gmm", "mean_field", "gaussians", beta=beta, out=f"runs/beta-{beta}", **options)
    for beta in (0.3, 1.0, 1.5, 3.0)
}

# %%
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for beta, run in runs.items():
    split = run.summary.splits["test"]
    axes.plot(split.rate.mean, split.distortion.mean, "o", label=f"beta {beta}")
axes.set(xlabel="rate R (nats)", ylabel="distortion D (nats)", title="Four weights of the rate")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Of one run: the best encoder of its decoder at every weight, by sums over the codes, and the guide's point above the curve.

# %%
curve = runs[1.0].curve(data=500)
curve

# %%
curve.plot("The decoder's curve, and the guide")

# %% [markdown]
# What the code tells of the data is at most the rate; the difference is what the prior costs.

# %%
information = runs[1.0].information(data=1000)
information.plot()
