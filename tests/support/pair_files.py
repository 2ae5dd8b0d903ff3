"""One linear Gaussian pair in every form in which a file may hold it.

All have p(z) = N(0, I), p(x | z) = N(W z + b, sigma^2) with sigma learned, and q(z | x) = N(A x + c, tau^2).
"""

HEAD = """
import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam
from torch.distributions.constraints import positive
"""

MODEL = """
with pyro.plate("data", len(x)):
    z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    pyro.sample("x", dist.Normal({dec}(z), {sigma}).to_event(1), obs=x)
"""

GUIDE = """
with pyro.plate("data", len(x)):
    pyro.sample("z", dist.Normal({enc}(x), {tau}).to_event(1))
"""


def _inside(text: str, spaces: int) -> str:
    return "".join(" " * spaces + line + "\n" for line in text.strip().splitlines())


FUNCTIONS = f'''"""Functions, with networks of the file and parameters of Pyro's store."""
{HEAD}
dec = torch.nn.Linear(2, 3)

def model(x):
    pyro.module("dec", dec)
    sigma = pyro.param("sigma", torch.tensor(0.5), constraint=positive)
{_inside(MODEL.format(dec="dec", sigma="sigma"), 4)}

enc = torch.nn.Linear(3, 2)

def guide(x):
    pyro.module("enc", enc)
    tau = pyro.param("tau", torch.ones(2), constraint=positive)
{_inside(GUIDE.format(enc="enc", tau="tau"), 4)}
'''

METHODS = f'''"""One module with methods model and guide."""
{HEAD}
class VAE(torch.nn.Module):
    """Both in one.

    Arguments:
        z_dim: Latents.
    """

    def __init__(self, input_dim, z_dim=2):
        super().__init__()
        self.dec = torch.nn.Linear(z_dim, input_dim)
        self.enc = torch.nn.Linear(input_dim, z_dim)

    def model(self, x):
        pyro.module("dec", self.dec)
        sigma = pyro.param("sigma", torch.tensor(0.5), constraint=positive)
{_inside(MODEL.format(dec="self.dec", sigma="sigma"), 8)}
    def guide(self, x):
        pyro.module("enc", self.enc)
        tau = pyro.param("tau", torch.ones(2), constraint=positive)
{_inside(GUIDE.format(enc="self.enc", tau="tau"), 8)}
'''

CLASSES = f'''"""A class of each."""
{HEAD}
class Net(torch.nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.l = torch.nn.Linear(i, o)
    def forward(self, z):
        return self.l(z)

class LinearGaussian(PyroModule):
    """A model."""

    def __init__(self, shape):
        super().__init__()
        self.dec = Net(2, shape[0])
        self.sigma = PyroParam(torch.tensor(0.5), positive)

    def forward(self, x):
{_inside(MODEL.format(dec="self.dec", sigma="self.sigma"), 8)}

class Reading(PyroModule):
    def __init__(self, model, x):
        super().__init__()
        self.enc = Net(x.shape[1], 2)
        self.tau = PyroParam(torch.ones(2), positive)

    def forward(self, x):
{_inside(GUIDE.format(enc="self.enc", tau="self.tau"), 8)}
'''

MODULES = f'''"""Plain modules, whose forward has parameters of Pyro's store."""
{HEAD}
class LinearGaussian(torch.nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.dec = torch.nn.Linear(2, shape[0])

    def forward(self, x):
        sigma = pyro.param("sigma", torch.tensor(0.5), constraint=positive)
{_inside(MODEL.format(dec="self.dec", sigma="sigma"), 8)}

class LinearGuide(torch.nn.Module):
    def __init__(self, model, x):
        super().__init__()
        self.enc = torch.nn.Linear(x.shape[1], 2)

    def forward(self, x):
        tau = pyro.param("tau", lambda: torch.ones(2), constraint=positive)
{_inside(GUIDE.format(enc="self.enc", tau="tau"), 8)}
'''

OBJECTS = METHODS + "\nvae = VAE(3)\nmodel, guide = vae.model, vae.guide\n"

FORMS = {
    "functions": FUNCTIONS,
    "methods": METHODS,
    "classes": CLASSES,
    "modules": MODULES,
    "objects": OBJECTS,
}

LINE = """
import pyro
import pyro.distributions as dist
import torch


class Line(torch.nn.Module):
    def __init__(self, shape, *, bias: bool = True, depth: int | None = 3, name: str = "a b"):
        super().__init__()
        self.decoder = torch.nn.Linear(1, *shape, bias=bias)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)
"""
"""A model of numbers with options of every kind."""

WITH_NEIGHBOUR = """
import pyro
import pyro.distributions as dist
import torch
from {neighbour} import SCALE


class Line(torch.nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.decoder = torch.nn.Linear(1, *shape)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), SCALE).to_event(1), obs=x)
"""
"""A model of numbers that imports its noise from a file beside it, whose name is to be filled in."""
