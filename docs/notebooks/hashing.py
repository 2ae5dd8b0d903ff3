# %% [markdown]
# # Codes to search by
#
# A binary code of 16 bits for every docstring of the installed packages: documents of one subject lie a few bits apart. No download.

# %%
import ppl_vae as pv

run = pv.train("text", "linear_counts", "docstrings", bits=16, epochs=4, vocabulary=2000, out="runs/docs16")
run

# %%
run.search("sparse matrix solver eigenvalues of symmetric linear system decomposition of matrices", count=5)

# %% [markdown]
# How well codes retrieve: of each test document the share of its own package among the hundred nearest, beside weighted words (tf-idf)
# and chance.

# %%
result = run.retrieval()
result

# %%
result.plot("Docstrings, 16 bits")

# %% [markdown]
# A higher ELBO does not mean better codes: [hashing](../hashing.md) measures it on 20 Newsgroups.
