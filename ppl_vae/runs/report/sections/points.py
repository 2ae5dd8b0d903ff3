"""Data or codes in two dimensions: points, samples of the model, and regions of the code."""

from __future__ import annotations

import torch
from markupsafe import Markup
from torch import Tensor

from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.simulate import simulate
from ppl_vae.runs.report.charts import COLOURS
from ppl_vae.runs.report.codes import posterior_means
from ppl_vae.runs.report.markup import columns, figure
from ppl_vae.runs.report.pictures import image
from ppl_vae.runs.report.plane import Dot, Regions, extent, scatter
from ppl_vae.runs.report.subject import Subject

TITLE = "In the plane"
PLACE = 80

COUNT = 500
"""Points drawn."""

SIDE = 90
"""Places in each direction at which the region is computed."""


def section(subject: Subject) -> Markup | None:
    """Points of two dimensions with the regions of their codes, or codes of two dimensions."""
    x = subject.data
    if isinstance(x, Tensor) and x.is_floating_point() and tuple(x.shape[1:]) == (2,) and not x.isnan().any():
        return _of_data(subject, x[:COUNT])
    return _of_codes(subject)


def _of_data(subject: Subject, x: Tensor) -> Markup:
    run, values = subject.run, x.cpu().tolist()
    with fork_random_state(run.config.settings.seed):
        drawn = simulate(run.model, x)[1]
    codes = _states(posterior_means(run, x))
    names = sorted(set(codes))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    dots = [
        Dot(a, b, f"{subject.name_of(i)}: ({a:.3f}, {b:.3f}){f', code {codes[i]}' if codes[i] else ''}", "ink")
        for i, (a, b) in enumerate(values)
    ]
    regions = _regions(subject, dots, colour) if len(names) > 1 else None
    meaning = [(f"code {name}", colour[name]) for name in names] if regions and len(names) <= 8 else []
    label = f"{len(dots)} {subject.split} data in the plane"
    caption = f"{len(dots)} {subject.split} data" + (", over the guide's most probable code." if regions else ".")
    parts = [figure(scatter(dots, label, ("x1", "x2"), meaning=meaning, behind=regions), caption)]
    assert isinstance(drawn, Tensor)
    samples = [Dot(a, b, f"({a:.3f}, {b:.3f})", "vermilion") for a, b in drawn.cpu().tolist()]
    frame = Regions("", *extent(dots))
    chart = scatter(samples, f"{len(samples)} data drawn from the model", ("x1", "x2"), behind=frame)
    parts.append(figure(chart, f"{len(samples)} data that the model draws, on the same axes."))
    return columns(*parts)


def _states(means: Tensor) -> list[str]:
    """The most probable code of each datum in letters; empty where the code is continuous."""
    if means.min() < 0 or means.max() > 1 or means.shape[1] > 12:
        return [""] * len(means)
    if means.shape[2] == 1:
        return ["".join(str(int(bit)) for bit in row) for row in (means[..., 0] > 0.5).tolist()]
    return [" ".join(map(str, row)) for row in means.argmax(-1).tolist()]


def _regions(subject: Subject, dots: list[Dot], colour: dict[str, str]) -> Regions:
    """The code that the guide gives to each place."""
    (left, right), (low, high) = extent(dots)
    across, up = torch.linspace(left, right, SIDE), torch.linspace(high, low, SIDE)
    places = torch.stack(torch.meshgrid(up, across, indexing="ij")[::-1], -1).reshape(-1, 2)
    codes = _states(posterior_means(subject.run, places.to(subject.data.device)))
    paint = {name: torch.tensor(_rgb(getattr(OKABE_ITO, each))) for name, each in colour.items()}
    other = torch.tensor((0.6, 0.6, 0.6))
    pixels = torch.stack([paint.get(code, other) for code in codes]).reshape(SIDE, SIDE, 3)
    return Regions(image(pixels), (left, right), (low, high))


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _of_codes(subject: Subject) -> Markup | None:
    """Posterior means of a continuous code of two dimensions, coloured by class where there are classes."""
    try:
        means = posterior_means(subject.run, subject.data[:COUNT])
    except ValueError:  # latents that count for some data only have no code of two dimensions
        return None
    if tuple(means.shape[1:]) != (2, 1) or any(_states(means)):
        return None
    labels, names = subject.run.labels(subject.split), subject.run.corpus.label_names
    classes = [0] * len(means) if labels is None else labels[: len(means)].tolist()
    dots = [
        Dot(a, b, f"{subject.name_of(i)}: ({a:.2f}, {b:.2f})", COLOURS[classes[i] % len(COLOURS)])
        for i, ((a,), (b,)) in enumerate(means.tolist())
    ]
    seen = sorted(set(classes)) if labels is not None and len(names) <= len(COLOURS) else []
    meaning = [(names[k], COLOURS[k % len(COLOURS)]) for k in seen]
    chart = scatter(dots, f"codes of {len(dots)} data", ("E[z1]", "E[z2]"), meaning=meaning)
    return columns(figure(chart, f"Posterior means of the code of {len(dots)} {subject.split} {subject.nouns}."))
