"""Pairs whose programs take several fields, with their evidence by NumPy."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from torch import Tensor


class ConditionalGaussian:
    r"""A linear Gaussian model of x given covariates y, which prior and decoder depend on.

    p(z | y) = N(y U, I), p(x | z, y) = N(z W + y V, s^2).
    """

    def __init__(self, latents: int = 2, observed: int = 4, covariates: int = 3, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.prior = random.normal(size=(covariates, latents))
        self.map = random.normal(size=(latents, observed))
        self.shift = random.normal(size=(covariates, observed))
        self.noise = 0.5
        self.weight = 0.2 * random.normal(size=(observed + covariates, latents))

    def __getattr__(self, name: str) -> Tensor:
        """The constants as tensors, ``t_map`` for ``map``."""
        if not name.startswith("t_"):
            raise AttributeError(name)
        return torch.from_numpy(getattr(self, name[2:])).float()

    def model(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(y @ self.t_prior, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.t_map + y @ self.t_shift, self.noise).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.cat([x, y], -1) @ self.t_weight, 0.7).to_event(1))

    def data(self, count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Data x and y of the model, float64."""
        random = np.random.default_rng(seed)
        y = random.normal(size=(count, len(self.prior)))
        z = y @ self.prior + random.normal(size=(count, len(self.map)))
        return z @ self.map + y @ self.shift + self.noise * random.normal(size=(count, self.map.shape[1])), y

    def evidence(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """log p(x | y), ``(data,)``."""
        covariance = self.map.T @ self.map + self.noise**2 * np.eye(self.map.shape[1])
        return multivariate_normal(cov=covariance).logpdf(x - y @ self.prior @ self.map - y @ self.shift)

    def elbo(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The ELBO of the guide, ``(data,)``."""
        mean, variance = np.concatenate([x, y], 1) @ self.weight, 0.7**2
        distortion = norm(mean @ self.map + y @ self.shift, self.noise).logpdf(x).sum(1)
        distortion -= variance * (self.map**2).sum() / (2 * self.noise**2)
        rate = 0.5 * (variance + (mean - y @ self.prior) ** 2 - 1 - np.log(variance)).sum(1)
        return distortion - rate


class LabelledMixture:
    r"""A mixture whose label is observed or not: p(y = k) = pi_k, p(z) = N(0, I), p(x | z, y) = N(z W + m_y, s^2)."""

    def __init__(self, classes: int = 3, latents: int = 1, observed: int = 4, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.shares = random.dirichlet(np.ones(classes))
        self.map = random.normal(size=(latents, observed))
        self.centres = random.normal(size=(classes, observed))
        self.noise = 0.6

    def data(self, count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Data x and their labels."""
        random = np.random.default_rng(seed)
        y = random.choice(len(self.shares), size=count, p=self.shares)
        z = random.normal(size=(count, len(self.map)))
        return z @ self.map + self.centres[y] + self.noise * random.normal(size=(count, self.map.shape[1])), y

    def joint_evidence(self, x: np.ndarray) -> np.ndarray:
        """log p(x, y) for every label, ``(data, classes)``."""
        covariance = self.map.T @ self.map + self.noise**2 * np.eye(self.map.shape[1])
        values = [multivariate_normal(centre, covariance).logpdf(x) for centre in self.centres]
        return np.stack(values, 1) + np.log(self.shares)

    def evidence(self, x: np.ndarray) -> np.ndarray:
        """log p(x), ``(data,)``."""
        return np.asarray(logsumexp(self.joint_evidence(x), axis=1))
