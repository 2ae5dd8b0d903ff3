"""Mixtures: local assignments, labels known for some rows, mixture priors."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import config_enumerate
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from benchmarks.structures.structure import Array, Structure, array, normal_log_prob

__all__ = ["STRUCTURES"]

DATA, WIDTH, STATES = 12, 4, 3


def mixture() -> Structure:
    """The mixture of the tutorial, whose cluster locations are parameters."""
    x = torch.randn(DATA) * 2
    net = nn.Linear(1, STATES)

    @config_enumerate
    def model(data: Tensor) -> None:
        weights = pyro.param("weights", torch.ones(STATES) / STATES, constraint=constraints.simplex)
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        locs = pyro.param("locs", torch.tensor([-2.0, 0.0, 3.0]))
        with pyro.plate("data", len(data)):
            assignment = pyro.sample("assignment", dist.Categorical(weights))
            pyro.sample("obs", dist.Normal(locs[assignment], scale), obs=data)

    def guide(data: Tensor) -> None:
        pyro.module("net", net)
        with pyro.plate("data", len(data)):
            pyro.sample("assignment", dist.Categorical(logits=net(data[:, None])))

    def truth() -> Array:
        weights, scale, locs = (array(pyro.param(name)) for name in ("weights", "scale", "locs"))
        return logsumexp(np.log(weights) + normal_log_prob(array(x)[:, None], locs, scale), -1)

    return Structure("mixture of Gaussians", "`config_enumerate`, parameters `pyro.param`", model, guide, (x,), truth)


def bayesian_mixture() -> Structure:
    """The mixture of the tutorial as it stands: weights and locations are latents of all data."""
    x = torch.randn(DATA) * 2
    net = nn.Linear(1, STATES)

    def model(data: Tensor) -> None:
        weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(STATES)))
        with pyro.plate("components", STATES):
            locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(data)):
            assignment = pyro.sample("assignment", dist.Categorical(weights))
            pyro.sample("obs", dist.Normal(locs[assignment], 1.0), obs=data)

    def guide(data: Tensor) -> None:
        pyro.module("net", net)
        alpha = pyro.param("alpha", torch.ones(STATES), constraint=constraints.positive)
        pyro.sample("weights", dist.Dirichlet(alpha))
        with pyro.plate("components", STATES):
            pyro.sample("locs", dist.Normal(pyro.param("loc", torch.randn(STATES)), 0.3))
        with pyro.plate("data", len(data)):
            pyro.sample("assignment", dist.Categorical(logits=net(data[:, None])))

    return Structure(
        "mixture, centres unknown", "latents `weights`, `locs` outside the plate of the data", model, guide, (x,)
    )


def mixture_vae() -> Structure:
    """A mixture of Gaussians as the prior of a VAE, with a linear decoder."""
    x = torch.randn(DATA, WIDTH)
    decoder = nn.Linear(2, WIDTH)
    means, log_scale = nn.Parameter(torch.randn(STATES, 2)), nn.Parameter(torch.zeros(STATES, 2))
    classifier, encoder = nn.Linear(WIDTH, STATES), nn.Linear(WIDTH + STATES, 4)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        loc, scale = pyro.param("means", means), pyro.param("log_scale", log_scale).exp()
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=torch.zeros(STATES)))
            w = pyro.sample("w", dist.Normal(loc[k], scale[k]).to_event(1))
            pyro.sample("x", dist.Normal(decoder(w), 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("classifier", classifier)
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=classifier(x)))
            label = functional.one_hot(k, STATES).float()
            loc, scale = encoder(torch.cat([x.expand(k.shape + x.shape[-1:]), label], -1)).chunk(2, -1)
            pyro.sample("w", dist.Normal(loc, scale.exp()).to_event(1))

    def truth() -> Array:
        weight, bias = array(decoder.weight), array(decoder.bias)
        loc, variance = array(means), array(log_scale.exp()) ** 2
        parts = [
            multivariate_normal(
                bias + weight @ loc[k], weight @ np.diag(variance[k]) @ weight.T + 0.25 * np.eye(WIDTH)
            ).logpdf(array(x))
            for k in range(STATES)
        ]
        return logsumexp(np.stack(parts), axis=0) - np.log(STATES)

    return Structure("mixture-of-Gaussians VAE", "`k` categorical, `w` given `k` normal", model, guide, (x,), truth)


class SemiSupervised(nn.Module):
    """The semi-supervised VAE of the tutorial; a label that is not given is a latent."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(1 + STATES, WIDTH)
        self.encoder_y, self.encoder_z = nn.Linear(WIDTH, STATES), nn.Linear(WIDTH + STATES, 2)

    def model(self, xs: Tensor, ys: Tensor | None = None) -> None:
        pyro.module("ss_vae", self)
        with pyro.plate("data", xs.size(0)):
            zs = pyro.sample("z", dist.Normal(xs.new_zeros(xs.size(0), 1), 1.0).to_event(1))
            ys = pyro.sample("y", dist.OneHotCategorical(xs.new_ones(xs.size(0), STATES) / STATES), obs=ys)
            ys = ys.expand(zs.shape[:-1] + ys.shape[-1:])
            zs = zs.expand(ys.shape[:-1] + zs.shape[-1:])
            loc = self.decoder(torch.cat([zs, ys], -1))
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=xs)

    def guide(self, xs: Tensor, ys: Tensor | None = None) -> None:
        with pyro.plate("data", xs.size(0)):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(logits=self.encoder_y(xs)))
            xs = xs.expand(ys.shape[:-1] + xs.shape[-1:])
            loc, scale = self.encoder_z(torch.cat([xs, ys.expand(xs.shape[:-1] + ys.shape[-1:])], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    def log_joint(self, x: Array) -> Array:
        """log p(x, y) of every label, ``(data, states)``."""
        weight, bias = array(self.decoder.weight), array(self.decoder.bias)
        covariance = weight[:, :1] @ weight[:, :1].T + 0.25 * np.eye(WIDTH)
        parts = [multivariate_normal(bias + weight[:, 1 + k], covariance).logpdf(x) for k in range(STATES)]
        return np.stack(parts, -1) - np.log(STATES)


def unlabelled() -> Structure:
    x, pair = torch.randn(DATA, WIDTH), SemiSupervised()
    return Structure(
        "semi-supervised VAE, rows without label",
        "`model(xs, ys=None)`; `y` a one-hot latent",
        pair.model,
        pair.guide,
        (x,),
        lambda: logsumexp(pair.log_joint(array(x)), -1),
    )


def labelled() -> Structure:
    x, pair = torch.randn(DATA, WIDTH), SemiSupervised()
    y = functional.one_hot(torch.arange(DATA) % STATES, STATES).float()
    return Structure(
        "semi-supervised VAE, rows with label",
        "the same program called with `ys`",
        pair.model,
        pair.guide,
        (x, y),
        lambda: (pair.log_joint(array(x)) * array(y)).sum(-1),
    )


def labels_for_some() -> Structure:
    x, pair = torch.randn(DATA, WIDTH), SemiSupervised()
    y = functional.one_hot(torch.arange(DATA) % STATES, STATES).float()
    known = torch.arange(DATA) < DATA // 2

    def model(x: Tensor, y: Tensor, known: Tensor) -> None:
        pyro.module("ss_vae", pair)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            label = pyro.sample("y", dist.OneHotCategorical(torch.ones(STATES) / STATES), obs=y, obs_mask=known)
            shape = torch.broadcast_shapes(z.shape[:-1], label.shape[:-1])
            joined = torch.cat([z.expand(shape + z.shape[-1:]), label.expand(shape + label.shape[-1:])], -1)
            pyro.sample("x", dist.Normal(pair.decoder(joined), 0.5).to_event(1), obs=x)

    def guide(x: Tensor, y: Tensor, known: Tensor) -> None:
        with pyro.plate("data", len(x)):
            with pyro.poutine.mask(mask=~known):
                drawn = pyro.sample("y_unobserved", dist.OneHotCategorical(logits=pair.encoder_y(x)))
            label = torch.where(known[:, None], y, drawn)
            joined = torch.cat([x.expand(label.shape[:-1] + x.shape[-1:]), label], -1)
            loc, scale = pair.encoder_z(joined).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    def truth() -> Array:
        joint = pair.log_joint(array(x))
        return np.where(known.numpy(), (joint * array(y)).sum(-1), logsumexp(joint, -1))

    return Structure("labels known for some rows", "`obs_mask=known` on a label", model, guide, (x, y, known), truth)


STRUCTURES = (mixture, bayesian_mixture, mixture_vae, unlabelled, labelled, labels_for_some)
