# %% [markdown]
# # Images
#
# Binary images of 10 x 10 pixels: a rectangle, with a fiftieth of all pixels flipped. The probability of every image is known, so that the
# best evidence is, too.

# %%
import matplotlib.pyplot as plt
import pyro
import torch

import ppl_vae as pv

corpus = pv.load_corpus("rectangles")
x = corpus.train.values[:16]
figure, axes = plt.subplots(2, 8, figsize=(8, 2.2), layout="constrained")
for panel, image in zip(axes.flat, x):
    panel.imshow(image, cmap="gray")
    panel.axis("off")
plt.show()

# %%
run = pv.train(
    "image_binary",
    "convolutional",
    "rectangles",
    latents=6,
    channels=4,
    blocks=0,
    guide_channels=8,
    guide_blocks=0,
    epochs=6,
    evidence_data=200,
    out="runs/rectangles",
)
run

# %%
run.plot()

# %% [markdown]
# The evidence of six normal latents is bounded by importance weights, from below (`>=`), and the bracket says how far it can be above.

# %%
run.evidence(data=100, draws=500)

# %% [markdown]
# Test images, and their means given a code from the guide:

# %%
images = run.data["test"][:8]
with torch.no_grad():
    code = pyro.poutine.trace(run.guide).get_trace(images).nodes["z"]["value"]
    given = pyro.poutine.condition(run.model, data={"z": code})
    fn = pyro.poutine.trace(given).get_trace(images).nodes["x"]["fn"]
figure, axes = plt.subplots(2, 8, figsize=(8, 2.2), layout="constrained")
for column, (image, mean) in enumerate(zip(images, fn.mean.reshape(images.shape))):
    for panel, shown in zip(axes[:, column], (image, mean)):
        panel.imshow(shown, cmap="gray", vmin=0, vmax=1)
        panel.axis("off")
plt.show()
