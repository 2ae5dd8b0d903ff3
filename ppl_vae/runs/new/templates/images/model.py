"""Binary images: a normal code, and independent pixels around what a network decodes from it."""

from math import prod

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import nn


class Model(PyroModule):
    """z ~ N(0, I) and x ~ Bernoulli(f(z)) for each pixel, with a network f of logits.

    Arguments:
        latents: Number of latents.
        width: Width of the hidden layer.
        shape: Shape of an image, which the data give.
    """

    # The data that are trained on where --corpus names no others.
    corpus = "rectangles"

    def __init__(self, latents: int = 8, width: int = 200, shape: tuple[int, ...] = (10, 10)):
        super().__init__()
        self.latents, self.shape = latents, shape
        # Choice of the network. For large images end in convolutions, nn.ConvTranspose2d, behind nn.Unflatten; the
        # guide `convolutional` fits any size.
        self.decoder = nn.Sequential(nn.Linear(latents, width), nn.ReLU(), nn.Linear(width, prod(shape)))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latents), 1.0).to_event(1))
            pixels = self.decoder(z).unflatten(-1, self.shape)
            # Choice of the pixels. Grey or colour: dist.Normal(pixels, sigma) with a sigma that is learned, an
            # nn.Parameter, and data by --corpus FOLDER/ --dequantise; zeros and ones alone are Bernoulli.
            pyro.sample("x", dist.Bernoulli(logits=pixels).to_event(len(self.shape)), obs=x)
