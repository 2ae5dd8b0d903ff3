"""Every piece of work that is timed, with the programs that do it: ours first."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.setting import Setting
from benchmarks.workloads import Size

__all__ = ["WORKS", "Work"]


@dataclass(frozen=True)
class Work:
    """A piece of work and who does it.

    Arguments:
        title: What is done.
        setting: How large it is.
        peers: Where each program is, by name; ours is the first.
        unit: What the time is that of.
    """

    title: str
    setting: Setting | Size
    peers: dict[str, str]
    unit: str = "step"

    def small(self) -> Work:
        """The same in a size that takes no time."""
        if isinstance(self.setting, Setting):
            return replace(self, setting=replace(self.setting, bits=3, width=8))
        few = replace(self.setting, data=20, batch=10, width=8, side=min(4, self.setting.side), draws=4, temperatures=3)
        return replace(self, setting=replace(few, latents=min(2, few.latents)))


TEXT = ("torch-arm", "torch-arm-compiled", "torch-sparse-arm", "torch-sparse-disarm", "pyro-trace", "pyro-trace-pairs")
"""Peers of the text step, in its table beside all others (``python -m benchmarks.steps``)."""


def text(title: str, setting: Setting) -> Work:
    """A step of the text model."""
    return Work(
        title, setting, {name: name for name in ("ours", "ours-arm", *TEXT, "reference", "floor-pairs", "floor")}
    )


def mixture(bits: int) -> Work:
    """A step of the mixture."""
    peers = {
        "ours": "Ours",
        "ours, replayed": "Replayed",
        "exact by hand": "Exact",
        "compiled": "Compiled",
        "pyro Trace_ELBO": "Trace",
    }
    where = {name: f"workloads.mixture:{kind}" for name, kind in peers.items()}
    return Work(f"mixture, {bits} bits", Size(side=0, latents=bits), where)


GAUSSIAN = {
    "ours": "Ours",
    "ours, replayed": "Replayed",
    "torch": "Eager",
    "torch, fused Adam": "Fused",
    "torch, compiled": "Compiled",
    "pyro Trace_ELBO": "Trace",
    "pyro TraceMeanField_ELBO": "TraceMeanField",
    "pythae": "Pythae",
}
README = {
    "ours": "Loop",
    "ours, DisARM": "DisARM",
    "ours, trainer": "Trained",
    "ours, trainer, replayed": "Replayed",
    "DisARM by hand": "Hand",
    "pyro Trace_ELBO": "Trace",
    "pyro Trace_ELBO, 3 particles": "TraceThree",
    "pyro Trace_ELBO, 3 particles at once": "TraceThreeAtOnce",
    "pyro TraceGraph_ELBO": "TraceGraph",
}

WORKS = {
    "text": text("text, linear decoder", Setting(0, 0, 1)),
    "text-hidden": text("text, two hidden layers, deep_frequencies", Setting(2, 2, 1)),
    "gaussian": Work(
        "Gaussian VAE, 2 x 512, images", Size(), {n: f"workloads.gaussian:{kind}" for n, kind in GAUSSIAN.items()}
    ),
    "mixture-2": mixture(2),
    "mixture-8": mixture(8),
    "readme": Work(
        "ten lines of the README in SVI",
        Size(data=1, batch=1, side=0),
        {n: f"workloads.readme:{kind}" for n, kind in README.items()},
    ),
    "importance": Work(
        "importance sampling, 60 images",
        Size(data=60, batch=60),
        {"ours": "workloads.evidence:OursImportance", "by hand": "workloads.evidence:Importance"},
        "evaluation",
    ),
    "annealing": Work(
        "annealing, 20 images",
        Size(data=20, batch=20, draws=16),
        {"ours": "workloads.evidence:OursAnnealing", "by hand": "workloads.evidence:Annealing"},
        "gradient",
    ),
    "help": Work(
        "ppl-vae --help",
        Size(data=1, batch=1, side=0),
        {"ours": "workloads.commands:Help", "import torch, pyro": "workloads.commands:Import"},
        "process",
    ),
    "list": Work(
        "ppl-vae list",
        Size(data=1, batch=1, side=0),
        {"ours": "workloads.commands:List", "import torch, pyro": "workloads.commands:Import"},
        "process",
    ),
}
