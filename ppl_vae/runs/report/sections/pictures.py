"""Images: data, their reconstructions, and samples of the model."""

from __future__ import annotations

import torch
from markupsafe import Markup
from torch import Tensor

from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import SubstituteLatents, observations
from ppl_vae.programs.handlers import run as run_program
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.runs.open import Run
from ppl_vae.runs.report.markup import columns, figure
from ppl_vae.runs.report.pictures import sheet
from ppl_vae.runs.report.subject import Subject

TITLE = "Samples and reconstructions"
PLACE = 80

COUNT = 24
"""Images of each kind; fewer where they are large."""

PIXELS = 300_000
"""Pixels of each kind, at most."""


def section(subject: Subject) -> Markup | None:
    """Three sheets of images."""
    if subject.images is None:
        return None
    count = min(len(subject.images), max(4, min(COUNT, PIXELS // subject.images[0].numel())))
    # Spread over the split, which may be sorted by class.
    x = subject.images[torch.linspace(0, len(subject.images) - 1, count).long()]
    rebuilt, drawn = _means(subject.run, x, of_guide=True), _means(subject.run, x, of_guide=False)
    if rebuilt is None or drawn is None:
        return None
    sheets = {
        f"{subject.split.capitalize()} images": x,
        "Reconstructions of them: E[x | z] for one z of the guide": rebuilt,
        "Samples: E[x | z] for z of the prior": drawn,
    }
    return columns(*(figure(sheet(images, 6, name), f"{name}.") for name, images in sheets.items()))


def _means(run: Run, x: Tensor, *, of_guide: bool) -> Tensor | None:
    """Means of p(x | z), for latents of the guide or of the prior; None where the model has none of this shape."""
    with evaluating(run.model, run.guide), fork_random_state(run.config.settings.seed), torch.no_grad():
        values = run_program(run.guide, (x,), {}, draws=1).values_of_latents() if of_guide else {}
        sites = run_program(run.model, (x,), {}, draws=1, handler=SubstituteLatents(values) if of_guide else None)
        observed = [site["fn"] for site in observations(sites).values()]
        if len(observed) != 1:
            return None
        try:
            mean: Tensor = observed[0].mean
        except NotImplementedError:  # of a decoder that draws pixel by pixel
            mean = observed[0].sample()
    return mean.reshape(x.shape).clamp(0, 1) if mean.numel() == x.numel() else None
