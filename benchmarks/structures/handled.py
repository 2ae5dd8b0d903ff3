"""Programs changed by Pyro's handlers, flows, several views, and images turned by a latent angle."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide
from pyro.distributions import transforms
from pyro.infer.reparam import LocScaleReparam
from scipy.stats import multivariate_normal
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from benchmarks.structures.structure import (
    Array,
    Structure,
    array,
    bernoulli_log_prob,
    log_mean,
    normal_grid,
    normal_log_prob,
)

__all__ = ["STRUCTURES"]

DATA, WIDTH = 8, 3


class Linear(nn.Module):
    """A linear Gaussian VAE, of which the programs below are variants."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder, self.encoder = nn.Linear(2, WIDTH), nn.Linear(WIDTH, 4)

    def generate(self, n: int) -> Tensor:
        pyro.module("decoder", self.decoder)
        scale = pyro.param("prior_scale", torch.tensor(1.3), constraint=constraints.positive)
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(n, 2), scale).to_event(1))
            return pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1))

    def model(self, x: Tensor) -> None:
        pyro.condition(self.generate, data={"x": x})(len(x))

    def draw(self, name: str, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample(name, dist.Normal(loc, log_scale.exp()).to_event(1))

    def guide(self, x: Tensor) -> None:
        self.draw("z", x)

    def truth(self, x: Tensor) -> Array:
        weight, variance = array(self.decoder.weight), float(pyro.param("prior_scale")) ** 2
        covariance = variance * weight @ weight.T + 0.25 * np.eye(WIDTH)
        return multivariate_normal(array(self.decoder.bias), covariance).logpdf(array(x))


def conditioned() -> Structure:
    x, pair = torch.randn(DATA, WIDTH), Linear()
    form = '`pyro.condition(generate, data={"x": x})(len(x))`'
    return Structure("generator conditioned on data", form, pair.model, pair.guide, (x,), lambda: pair.truth(x))


def decentred() -> Structure:
    x, pair = torch.randn(DATA, WIDTH), Linear()

    def guide(x: Tensor) -> None:
        pair.draw("z_decentered", x)

    return Structure(
        "decentred latent",
        "`poutine.reparam` with `LocScaleReparam`",
        poutine.reparam(pair.model, config={"z": LocScaleReparam(0.0)}),
        guide,
        (x,),
        lambda: pair.truth(x),
    )


def warmed_up() -> Structure:
    x, pair = torch.randn(DATA, WIDTH), Linear()

    def guide(x: Tensor) -> None:
        with poutine.scale(scale=0.1):
            pair.guide(x)

    return Structure(
        "rate annealed in the guide alone",
        "`poutine.scale` around the guide",
        pair.model,
        guide,
        (x,),
        lambda: pair.truth(x),
    )


def easy_guide() -> Structure:
    x, pair = torch.randn(DATA, WIDTH), Linear()

    class Amortised(EasyGuide):  # type: ignore[misc]
        def guide(self, x: Tensor) -> None:
            pair.guide(x)

    return Structure(
        "easy guide",
        "`EasyGuide(model)` with a network",
        pair.model,
        Amortised(pair.model),
        (x,),
        lambda: pair.truth(x),
    )


def double() -> Structure:
    x, decoder, encoder = torch.randn(DATA, WIDTH).double(), nn.Linear(2, WIDTH).double(), nn.Linear(WIDTH, 4).double()

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), x.new_ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def truth() -> Array:
        weight = array(decoder.weight)
        return multivariate_normal(array(decoder.bias), weight @ weight.T + 0.25 * np.eye(WIDTH)).logpdf(array(x))

    return Structure("double precision", "networks and data in float64", model, guide, (x,), truth)


def two_views() -> Structure:
    """Two views of a datum, one of which may be missing: each expert is left out of the product where it is."""
    views = {"a": torch.randn(DATA, 3), "b": torch.randn(DATA, 2)}
    seen = {"a": torch.arange(DATA) % 3 != 0, "b": torch.arange(DATA) % 3 != 1}
    scales = {"a": 0.5, "b": 0.8}
    decoders = nn.ModuleDict({name: nn.Linear(2, view.shape[1]) for name, view in views.items()})
    encoders = nn.ModuleDict({name: nn.Linear(view.shape[1], 4) for name, view in views.items()})

    def model(a: Tensor, b: Tensor, has_a: Tensor, has_b: Tensor) -> None:
        pyro.module("decoders", decoders)
        with pyro.plate("data", a.size(0)):
            z = pyro.sample("z", dist.Normal(a.new_zeros(a.size(0), 2), 1.0).to_event(1))
            for name, view, mask in (("a", a, has_a), ("b", b, has_b)):
                with poutine.mask(mask=mask):
                    pyro.sample(name, dist.Normal(decoders[name](z), scales[name]).to_event(1), obs=view)

    def guide(a: Tensor, b: Tensor, has_a: Tensor, has_b: Tensor) -> None:
        pyro.module("encoders", encoders)
        precision, total = torch.ones(a.size(0), 2), torch.zeros(a.size(0), 2)
        for name, view, mask in (("a", a, has_a), ("b", b, has_b)):
            loc, log_variance = encoders[name](view).chunk(2, -1)
            weight = (-log_variance).exp() * mask[:, None]
            precision, total = precision + weight, total + weight * loc
        with pyro.plate("data", a.size(0)):
            pyro.sample("z", dist.Normal(total / precision, precision.rsqrt()).to_event(1))

    def truth() -> Array:
        result = []
        for row in range(DATA):
            names = [name for name in views if seen[name][row]]
            weight = np.concatenate([array(decoders[name].weight) for name in names])
            mean = np.concatenate([array(decoders[name].bias) for name in names])
            noise = np.concatenate([np.full(views[name].shape[1], scales[name] ** 2) for name in names])
            value = np.concatenate([array(views[name][row]) for name in names])
            result.append(multivariate_normal(mean, weight @ weight.T + np.diag(noise)).logpdf(value))
        return np.array(result)

    return Structure(
        "two views, some missing",
        "`poutine.mask` around each view, a product of experts",
        model,
        guide,
        (views["a"], views["b"], seen["a"], seen["b"]),
        truth,
    )


def flow_prior() -> Structure:
    x, decoder, encoder = torch.randn(DATA, WIDTH), nn.Linear(2, WIDTH), nn.Linear(WIDTH, 4)
    flow = transforms.affine_coupling(2, hidden_dims=[6])

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)
            z = pyro.sample("z", dist.TransformedDistribution(base, [flow]))
            pyro.sample("x", dist.Normal(decoder(z), 0.7).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def truth() -> Array:
        points, weights = normal_grid(2, 201)
        with torch.no_grad():
            mean = array(decoder(flow(torch.as_tensor(points).float())))
        return log_mean(weights, normal_log_prob(array(x), mean[:, None], 0.7).sum(-1))

    options = {"method": "importance"}
    return Structure(
        "flow as the prior",
        "`TransformedDistribution` with `affine_coupling`",
        model,
        guide,
        (x,),
        truth,
        options=options,
    )


class Rotated(nn.Module):
    """Images turned by a latent angle: coordinates of the pixels are turned before they are decoded."""

    def __init__(self) -> None:
        super().__init__()
        side = torch.linspace(-1, 1, 3)
        self.register_buffer("grid", torch.cartesian_prod(side, side))
        self.coordinates, self.out, self.encoder = nn.Linear(2, 8), nn.Linear(8, 1), nn.Linear(9, 2)

    def model(self, x: Tensor, **kwargs: float) -> None:
        pyro.module("decoder", self)
        with pyro.plate("data", x.shape[0]):
            with poutine.scale(scale=kwargs.get("scale_factor", 1.0)):
                z = pyro.sample("latent", dist.Normal(x.new_zeros(x.shape[0], 1), x.new_ones(1)).to_event(1))
            cosine, sine = z[:, 0].cos(), z[:, 0].sin()
            turn = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
            grid = torch.bmm(self.grid.expand(x.shape[0], *self.grid.shape), turn)
            loc = torch.sigmoid(self.out(torch.tanh(self.coordinates(grid.reshape(-1, 2))))).reshape(-1, 9)
            pyro.sample("obs", dist.Bernoulli(loc, validate_args=False).to_event(1), obs=x.view(-1, 9))

    def guide(self, x: Tensor, **kwargs: float) -> None:
        with pyro.plate("data", x.shape[0]):
            loc, scale = self.encoder(x.view(-1, 9)).chunk(2, -1)
            with poutine.scale(scale=kwargs.get("scale_factor", 1.0)):
                pyro.sample("latent", dist.Normal(loc, functional.softplus(scale)).to_event(1))

    def truth(self, x: Tensor) -> Array:
        points, weights = normal_grid(1, 1001)
        cosine, sine = np.cos(points[:, 0]), np.sin(points[:, 0])
        turn = np.stack([np.stack([cosine, sine], 1), np.stack([-sine, cosine], 1)], 1)
        grid = np.einsum("ki,pij->pkj", array(self.grid), turn)
        hidden = np.tanh(grid @ array(self.coordinates.weight).T + array(self.coordinates.bias))
        logits = (hidden @ array(self.out.weight).T + array(self.out.bias))[..., 0]
        return log_mean(weights, bernoulli_log_prob(array(x).reshape(DATA, -1), logits[:, None]))


def rotated() -> Structure:
    x, pair = (torch.rand(DATA, 3, 3) < 0.4).float(), Rotated()
    return Structure(
        "images turned by a latent angle",
        "columns of z (`z[:, 0]`), `torch.bmm` of a grid, `scale_factor=` in `**kwargs`",
        pair.model,
        pair.guide,
        (x,),
        lambda: pair.truth(x),
    )


STRUCTURES = (conditioned, decentred, warmed_up, easy_guide, double, two_views, flow_prior, rotated)
