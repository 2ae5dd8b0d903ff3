"""A step of the Gaussian VAE with two hidden layers on each side: ours, PyTorch by hand, Pyro's objectives, pythae."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.ppca import Ppca
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from benchmarks.workloads import Size
from benchmarks.workloads.pairs import ByHand, ByTrainer, PairPeer
from ppl_vae.programs.loading import find


class Networks(PairPeer):
    """The same networks without model and guide around them."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        self.decoder = nn.Sequential(self.model.hidden, self.model.linear)
        self.log_scale = self.model.log_scale

    def pair(self, setting: Size, x: Tensor) -> tuple[Ppca, MeanField]:
        """The shipped model and guide, as the command line builds them."""
        facts = find("models", "ppca").facts(x)
        model = Ppca(**facts, latents=setting.latents, hidden=2, width=setting.width)
        return model, MeanField(model, x[:64], layers=2, width=setting.width)

    def reconstruction(self, z: Tensor) -> Tensor:
        """The mean of flat data given their latents, in the data's units where the model keeps them."""
        mean, spread = self.model.data_mean, self.model.data_spread
        return self.decoder(z) if mean is None else torch.addcmul(mean.flatten(), spread.flatten(), self.decoder(z))


class Ours(ByTrainer, Networks):
    """The step of ``ppl-vae train``."""


class Replayed(Ours):
    """The same, recorded once and replayed."""

    replay = True


class Eager(ByHand, Networks):
    """As written down from the paper (Kingma and Welling 2014): a reparameterised draw, the rate in closed form."""

    fused = False

    def loss(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        mean, log_sigma = self.encoder(x).chunk(2, -1)
        sigma = log_sigma.exp()
        z = mean + sigma * torch.randn_like(mean)
        error = (x - self.reconstruction(z)).square().sum()
        distortion = error / (2 * (2 * self.log_scale).exp()) + x.numel() * self.log_scale
        rate = (mean.square() + sigma.square() - 1).sum() / 2 - log_sigma.sum()
        return (distortion + rate) / len(x)


class Fused(Eager):
    """The same with Adam in one kernel."""

    fused = True


class Compiled(Fused):
    """The same under ``torch.compile``."""

    compiled = True


class Trace(Networks):
    """Pyro's own objective, the model as Pyro's tutorial of the VAE has it."""

    objective: type[Trace_ELBO] = Trace_ELBO

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        self.decoder.log_scale = self.log_scale
        self.elbo = self.objective()
        self.svi = SVI(self.written, self.read, pyro.optim.Adam({"lr": 1e-3}), loss=self.elbo)

    def written(self, x: Tensor) -> None:
        """The model."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.setting.latents), 1).to_event(1))
            pyro.sample("x", dist.Normal(self.reconstruction(z), self.log_scale.exp()).to_event(1), obs=x.flatten(1))

    def read(self, x: Tensor) -> None:
        """The guide."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            mean, log_sigma = self.encoder(x.flatten(1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, log_sigma.exp()).to_event(1))

    def step(self, x: Tensor) -> None:
        self.svi.step(x)

    def loss(self, x: Tensor) -> Tensor:
        return self.elbo.differentiable_loss(self.written, self.read, x) / len(x)


class TraceMeanField(Trace):
    """The same with the rate in closed form."""

    objective = TraceMeanField_ELBO


class Pythae(Eager):
    """pythae's VAE with these networks; its sigma is fixed at one."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder

        super().__init__(setting, x)
        encoder, decoder, shape = self.encoder, self.decoder, x.shape[1:]

        class Encoder(BaseEncoder):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.network = encoder

            def forward(self, x: Tensor) -> ModelOutput:
                mean, log_sigma = self.network(x).chunk(2, -1)
                return ModelOutput(embedding=mean, log_covariance=2 * log_sigma)

        class Decoder(BaseDecoder):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.network = decoder

            def forward(self, z: Tensor) -> ModelOutput:
                return ModelOutput(reconstruction=self.network(z).unflatten(-1, shape))

        config = VAEConfig(input_dim=tuple(shape), latent_dim=setting.latents, reconstruction_loss="mse")
        self.vae = VAE(config, Encoder(), Decoder())

    def loss(self, x: Tensor) -> Tensor:
        found: Tensor = self.vae({"data": x}).loss
        return found
