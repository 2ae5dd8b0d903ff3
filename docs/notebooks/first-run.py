# %% [markdown]
# # First run
#
# Four Gaussians in the plane, numbered by two bits. The model is right from the start; only the guide is trained. Its bits are
# independent given x, and the posterior's are not everywhere.

# %%
import ppl_vae as pv

run = pv.train(
    "gmm",
    "mean_field",
    "gaussians",
    epochs=8,
    batch_size=64,
    learning_rate=0.003,
    guide_width=64,
    out="runs/first",
)
run

# %% [markdown]
# The final table has a row for each split, in nats per datum. With two bits the evidence is a sum over four codes, and exact.

# %%
run.summary

# %%
run.plot()

# %% [markdown]
# ## Where the gap comes from
#
# The best member of the guide's family is searched for, datum by datum. What it loses is the family's; what the network loses
# against it is the network's.

# %%
gap = run.gap()
gap

# %%
gap.plot("Where the gap comes from")

# %%
gap.to_frame()

# %% [markdown]
# The point with the widest gap, and the posterior of its code: both bits flip together, which independent bits cannot follow.

# %%
worst = gap.worst(1)
point = run.data["test"][worst]
print(point, run.model.posterior(point)["z"].logits.softmax(-1), sep="\n")

# %% [markdown]
# `run.report()` writes all of this, and what to do next, as one HTML page. [Reading a gap](../reading-a-gap.md) says what each
# pattern means.
