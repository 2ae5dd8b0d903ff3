"""Plates without a size, a treatment, and programs in which no datum has a bound to be measured."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoDelta, AutoNormal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from benchmarks.structures.structure import Array, Structure, array, log_mean, normal_grid, normal_log_prob

__all__ = ["STRUCTURES"]

DATA, WIDTH, STATES = 8, 4, 3


class WithoutSize(nn.Module):
    """A semi-supervised VAE whose plate is ``pyro.plate("data")``: Pyro takes any number of rows inside."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(1 + STATES, WIDTH)
        self.classifier, self.encoder = nn.Linear(WIDTH, STATES), nn.Linear(WIDTH + STATES, 2)

    def model(self, xs: Tensor, ys: Tensor | None = None) -> None:
        pyro.module("ss_vae", self)
        rows = xs.size(0)
        with pyro.plate("data"):
            zs = pyro.sample("z", dist.Normal(torch.zeros(rows, 1), torch.ones(rows, 1)).to_event(1))
            ys = pyro.sample("y", dist.OneHotCategorical(torch.ones(rows, STATES) / STATES), obs=ys)
            loc = self.decoder(torch.cat([zs, ys.expand(*zs.shape[:-1], -1)], -1))
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=xs)

    def guide(self, xs: Tensor, ys: Tensor | None = None) -> None:
        with pyro.plate("data"):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(logits=self.classifier(xs)))
            loc, log_scale = self.encoder(torch.cat([xs.expand(*ys.shape[:-1], -1), ys], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def without_size() -> Structure:
    x, pair = torch.randn(DATA, WIDTH), WithoutSize()

    def truth() -> Array:
        weight, bias = array(pair.decoder.weight), array(pair.decoder.bias)
        covariance = weight[:, :1] @ weight[:, :1].T + 0.25 * np.eye(WIDTH)
        parts = [multivariate_normal(bias + weight[:, 1 + k], covariance).logpdf(array(x)) for k in range(STATES)]
        return logsumexp(parts, axis=0) - np.log(STATES)

    return Structure("plate without a size", '`pyro.plate("data")`', pair.model, pair.guide, (x,), truth)


def treatment() -> Structure:
    """The effect of a treatment with a hidden common cause, as in ``pyro.contrib.cevae``."""
    x, t, y = torch.randn(DATA, 2), (torch.rand(DATA) < 0.5).float(), torch.randn(DATA)
    nets = nn.ModuleDict({"x": nn.Linear(1, 4), "t": nn.Linear(1, 1), "y0": nn.Linear(1, 1), "y1": nn.Linear(1, 1)})
    encoder = nn.Linear(4, 2)

    def model(x: Tensor, t: Tensor | None = None, y: Tensor | None = None) -> None:
        pyro.module("nets", nets)
        with pyro.plate("data", x.size(0), subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc, log_scale = nets["x"](z).chunk(2, -1)
            pyro.sample("x", dist.Normal(loc, log_scale.exp()).to_event(1), obs=x)
            t = pyro.sample("t", dist.Bernoulli(logits=nets["t"](z).squeeze(-1)), obs=t)
            outcome = torch.where(t.bool(), nets["y1"](z).squeeze(-1), nets["y0"](z).squeeze(-1))
            pyro.sample("y", dist.Normal(outcome, 0.7), obs=y)

    def guide(x: Tensor, t: Tensor, y: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.size(0), subsample=x):
            loc, log_scale = encoder(torch.cat([x, t[:, None], y[:, None]], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def truth() -> Array:
        points, weights = normal_grid(1, 1001)
        out = {name: points @ array(net.weight).T + array(net.bias) for name, net in nets.items()}
        loc, log_scale = np.split(out["x"][:, None], 2, -1)
        density = normal_log_prob(array(x), loc, np.exp(log_scale)).sum(-1)
        density = density + array(t) * out["t"] - np.logaddexp(0, out["t"])
        outcome = np.where(array(t) > 0, out["y1"], out["y0"])
        return log_mean(weights, density + normal_log_prob(array(y), outcome, 0.7))

    return Structure(
        "effect of a treatment", "`model(x, t=None, y=None)`, `plate(..., subsample=x)`", model, guide, (x, t, y), truth
    )


class Gaussians:
    """The mixture of the tutorial, whose assignments are summed out, under an autoguide of what all data share."""

    def __init__(self) -> None:
        self.x = 2 * torch.randn(DATA)
        self.model = config_enumerate(self._model)
        self.shared = poutine.block(self.model, expose=["weights", "locs", "scale"])

    def _model(self, data: Tensor) -> None:
        weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(2)))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
        with pyro.plate("components", 2):
            locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(data)):
            assignment = pyro.sample("assignment", dist.Categorical(weights))
            pyro.sample("obs", dist.Normal(locs[assignment], scale), obs=data)


def mixture_at_a_point() -> Structure:
    pair = Gaussians()
    return Structure(
        "mixture of the tutorial, at a point",
        "`AutoDelta(poutine.block(model, expose=[...]))`",
        pair.model,
        AutoDelta(pair.shared),
        (pair.x,),
        refused="the guide does not draw ['assignment'], which the model marks for enumeration",
    )


def mixture_by_autoguide() -> Structure:
    pair = Gaussians()
    return Structure(
        "mixture of the tutorial, by normals",
        "`AutoNormal(poutine.block(model, expose=[...]))`",
        pair.model,
        AutoNormal(pair.shared),
        (pair.x,),
        refused="if these are latents that all data share, write a guide of them",
    )


def classifier() -> Structure:
    """The auxiliary loss of the semi-supervised tutorial: a classifier, without latents."""
    x, y, net = torch.randn(DATA, WIDTH), torch.arange(DATA) % STATES, nn.Linear(WIDTH, STATES)

    def model(x: Tensor, y: Tensor) -> None:
        pyro.module("net", net)
        with pyro.plate("data", len(x)), poutine.scale(scale=50.0):
            pyro.sample("y_aux", dist.Categorical(logits=net(x)), obs=y)

    def guide(x: Tensor, y: Tensor) -> None:
        """Draws nothing."""

    return Structure(
        "auxiliary loss", "`model_classify`, `guide_classify`", model, guide, (x, y), refused="the model has no latents"
    )


def point() -> Structure:
    """A function of a latent as a site of its own."""
    x, decoder, encoder = torch.randn(DATA, WIDTH), nn.Linear(2, WIDTH), nn.Linear(WIDTH, 4)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = pyro.sample("mean", dist.Delta(decoder(z)).to_event(1))
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return Structure(
        "function of a latent as a site",
        "`dist.Delta(decoder(z))`",
        model,
        guide,
        (x,),
        refused="pyro.deterministic('mean'",
    )


def written_size() -> Structure:
    x, decoder, encoder = torch.randn(DATA, WIDTH), nn.Linear(2, WIDTH), nn.Linear(WIDTH, 4)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", DATA):
            z = pyro.sample("z", dist.Normal(torch.zeros(DATA, 2), torch.ones(DATA, 2)).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x.reshape(DATA, WIDTH))

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", DATA):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return Structure(
        "batch size written down",
        '`pyro.plate("data", 8)`',
        model,
        guide,
        (x,),
        refused="a program is given the rows of a batch alone",
    )


STRUCTURES = (without_size, treatment, mixture_at_a_point, mixture_by_autoguide, classifier, point, written_size)
