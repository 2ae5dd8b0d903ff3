"""Neural decoders and guides: the VAE of the tutorial, convolutions, hierarchies, flows, circles, mixed columns."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from scipy.special import i0, log_softmax
from scipy.stats import multivariate_normal
from scipy.stats import t as student
from torch import Tensor, nn

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

DATA, WIDTH = 10, 4


class TutorialVAE(nn.Module):
    """The VAE of the tutorial: a module with methods ``model`` and ``guide``."""

    def __init__(self, z_dim: int = 2, hidden_dim: int = 8, pixels: int = 16) -> None:
        super().__init__()
        self.pixels, self.z_dim = pixels, z_dim
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden_dim), nn.Softplus(), nn.Linear(hidden_dim, 2 * z_dim))
        self.decoder = nn.Sequential(nn.Linear(z_dim, hidden_dim), nn.Softplus(), nn.Linear(hidden_dim, pixels))

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = x.new_zeros(torch.Size((x.shape[0], self.z_dim)))
            z_scale = x.new_ones(torch.Size((x.shape[0], self.z_dim)))
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = torch.sigmoid(self.decoder.forward(z))
            pyro.sample("obs", dist.Bernoulli(loc_img).to_event(1), obs=x.reshape(-1, self.pixels))

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = self.encoder.forward(x.reshape(-1, self.pixels)).chunk(2, -1)
            pyro.sample("latent", dist.Normal(z_loc, torch.exp(z_scale)).to_event(1))


def tutorial_vae() -> Structure:
    x, pair = (torch.rand(DATA, 4, 4) < 0.3).float(), TutorialVAE()

    def truth() -> Array:
        points, weights = normal_grid(2, 121)
        first, last = pair.decoder[0], pair.decoder[2]
        hidden = np.logaddexp(0, points @ array(first.weight).T + array(first.bias))
        logits = hidden @ array(last.weight).T + array(last.bias)
        return log_mean(weights, bernoulli_log_prob(array(x).reshape(DATA, -1)[None], logits[:, None]))

    return Structure(
        "VAE of the tutorial",
        "`nn.Module` with `.model` and `.guide`",
        pair.model,
        pair.guide,
        (x,),
        truth,
    )


class ConvolutionalVAE(nn.Module):
    """A decoder that flattens whatever comes in front, with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(2, 2 * 2 * 2), nn.BatchNorm2d(2)
        self.up = nn.ConvTranspose2d(2, 1, 2, stride=2)
        self.down = nn.Sequential(nn.Conv2d(1, 2, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))

    def decode(self, z: Tensor) -> Tensor:
        return self.up(torch.relu(self.norm(self.linear(z).view(-1, 2, 2, 2))))

    def model(self, x: Tensor) -> None:
        pyro.module("vae", self)
        with pyro.plate("data", x.size(0)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(x.size(0), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decode(z)).to_event(3), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", x.size(0)):
            loc, scale = self.down(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def convolutional_vae() -> Structure:
    x, pair = (torch.rand(DATA, 1, 4, 4) < 0.3).float(), ConvolutionalVAE()

    def truth() -> Array:
        points, weights = normal_grid(2, 121)
        norm = pair.norm
        features = points @ array(pair.linear.weight).T + array(pair.linear.bias)
        maps = features.reshape(-1, 2, 4)
        scale = array(norm.weight) / np.sqrt(array(norm.running_var) + norm.eps)
        maps = np.maximum(scale[:, None] * (maps - array(norm.running_mean)[:, None]) + array(norm.bias)[:, None], 0)
        kernel = array(pair.up.weight)[:, 0]
        blocks = np.einsum("pcn,cij->pnij", maps, kernel) + float(pair.up.bias)
        logits = blocks.reshape(-1, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16)
        return log_mean(weights, bernoulli_log_prob(array(x).reshape(DATA, -1)[None], logits[:, None]))

    return Structure(
        "convolutional VAE", "decoder with `.view(-1, ...)` and `BatchNorm2d`", pair.model, pair.guide, (x,), truth
    )


def hierarchical_vae() -> Structure:
    """Two stochastic layers; the guide draws the upper one first."""
    x = torch.randn(DATA, WIDTH)
    middle, out = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2)), nn.Linear(1, WIDTH)
    encode_top, encode_bottom = nn.Linear(WIDTH, 2), nn.Linear(WIDTH + 1, 2)

    def model(x: Tensor) -> None:
        pyro.module("middle", middle)
        pyro.module("out", out)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc, scale = middle(z2).chunk(2, -1)
            z1 = pyro.sample("z1", dist.Normal(loc, (0.3 * scale).exp()).to_event(1))
            pyro.sample("x", dist.Normal(out(z1), 0.7).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encode_top", encode_top)
        pyro.module("encode_bottom", encode_bottom)
        with pyro.plate("data", len(x)):
            loc, scale = encode_top(x).chunk(2, -1)
            z2 = pyro.sample("z2", dist.Normal(loc, scale.exp()).to_event(1))
            loc, scale = encode_bottom(torch.cat([x.expand(z2.shape[:-1] + x.shape[-1:]), z2], -1)).chunk(2, -1)
            pyro.sample("z1", dist.Normal(loc, scale.exp()).to_event(1))

    def truth() -> Array:
        points, weights = normal_grid(1)
        first, last = middle[0], middle[2]
        heads = np.tanh(points @ array(first.weight).T + array(first.bias)) @ array(last.weight).T + array(last.bias)
        weight, bias = array(out.weight), array(out.bias)
        parts = [
            multivariate_normal(
                bias + weight[:, 0] * loc, np.exp(0.6 * scale) * weight @ weight.T + 0.49 * np.eye(WIDTH)
            ).logpdf(array(x))
            for loc, scale in heads
        ]
        return log_mean(weights, np.stack(parts))

    return Structure("hierarchical VAE", "`z2` to `z1` to x, guide q(z2) q(z1 given z2)", model, guide, (x,), truth)


def _flow(kind: str) -> Structure:
    x = (torch.rand(DATA, WIDTH) < 0.5).float()
    decoder, encoder = nn.Linear(2, WIDTH), nn.Linear(WIDTH, 4)
    flow = getattr(transforms, f"conditional_{kind}")(2, WIDTH, hidden_dims=[8])

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            base = dist.Normal(loc, scale.exp()).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [flow.condition(x)]))

    def truth() -> Array:
        points, weights = normal_grid(2, 121)
        logits = points @ array(decoder.weight).T + array(decoder.bias)
        return log_mean(weights, bernoulli_log_prob(array(x)[None], logits[:, None]))

    form = f"`TransformedDistribution` with `conditional_{kind}`"
    return Structure("flow as a guide", form, model, guide, (x,), truth)


def flow_guide() -> Structure:
    return _flow("affine_autoregressive")


def flow_without_inverse() -> Structure:
    return _flow("planar")


def circle() -> Structure:
    """A latent angle."""
    x = torch.randn(DATA, 2)
    encoder = nn.Linear(2, 3)

    def model(x: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(0.6), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            angle = pyro.sample("angle", dist.VonMises(torch.zeros(()), 0.5))
            pyro.sample("x", dist.Normal(torch.stack([angle.cos(), angle.sin()], -1), scale).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            a, b, concentration = encoder(x).unbind(-1)
            pyro.sample("angle", dist.VonMises(torch.atan2(a, b), 0.5 + concentration.exp()))

    def truth() -> Array:
        angles = np.linspace(-np.pi, np.pi, 2000, endpoint=False)
        prior = 0.5 * np.cos(angles) - np.log(2 * np.pi * i0(0.5)) + np.log(angles[1] - angles[0])
        means = np.stack([np.cos(angles), np.sin(angles)], -1)[:, None]
        return log_mean(prior, normal_log_prob(array(x)[None], means, float(pyro.param("scale"))).sum(-1))

    return Structure("angle on a circle", "von Mises latent and guide", model, guide, (x,), truth)


def heavy_tails() -> Structure:
    """A decoder of location and scale with Student's t around it."""
    x = torch.randn(DATA, WIDTH)
    decoder, encoder = nn.Linear(1, 2 * WIDTH), nn.Linear(WIDTH, 2)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc, log_scale = decoder(z).chunk(2, -1)
            pyro.sample("x", dist.StudentT(4.0, loc, (0.3 * log_scale).exp()).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def truth() -> Array:
        points, weights = normal_grid(1, 401)
        loc, log_scale = np.split(points @ array(decoder.weight).T + array(decoder.bias), 2, -1)
        density = student(4.0, loc[:, None], np.exp(0.3 * log_scale)[:, None])
        return log_mean(weights, density.logpdf(array(x)[None]).sum(-1))

    return Structure("robust regression decoder", "`StudentT` with a learned scale", model, guide, (x,), truth)


def mixed_columns() -> Structure:
    """A table of columns of several kinds: one observed site for each."""
    number, flag, choice = torch.randn(DATA), (torch.rand(DATA) < 0.5).float(), torch.arange(DATA) % 3
    decoder, encoder = nn.Linear(1, 5), nn.Linear(3, 2)

    def model(number: Tensor, flag: Tensor, choice: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("rows", len(number)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            out = decoder(z)
            pyro.deterministic("embedding", out)
            pyro.sample("number", dist.Normal(out[..., 0], 0.5), obs=number)
            pyro.sample("flag", dist.Bernoulli(logits=out[..., 1]), obs=flag)
            pyro.sample("choice", dist.Categorical(logits=out[..., 2:]), obs=choice)

    def guide(number: Tensor, flag: Tensor, choice: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("rows", len(number)):
            loc, scale = encoder(torch.stack([number, flag, choice.float()], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    def truth() -> Array:
        points, weights = normal_grid(1, 401)
        out = points @ array(decoder.weight).T + array(decoder.bias)
        total = normal_log_prob(array(number)[None], out[:, :1], 0.5)
        total = total + bernoulli_log_prob(array(flag)[None, :, None], out[:, 1:2, None])
        return log_mean(weights, total + log_softmax(out[:, 2:], -1)[:, choice.numpy()])

    return Structure(
        "table of mixed columns",
        "`model(number, flag, choice)`, three observed sites, `pyro.deterministic`",
        model,
        guide,
        (number, flag, choice),
        truth,
    )


STRUCTURES = (
    tutorial_vae,
    convolutional_vae,
    hierarchical_vae,
    flow_guide,
    flow_without_inverse,
    circle,
    heavy_tails,
    mixed_columns,
)
