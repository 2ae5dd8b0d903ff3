"""A GAN as the truth: how ELBO training harms a decoder that was right, and how far a richer guide undoes it.

Section 4.2 of Schlesinger, Shekhovtsov and Flach (2021): the generator of a GAN with a little noise is the true model
of its own images. A guide learns from images and their codes (conditional likelihood); then both are trained on the
ELBO, beginning at the truth. The paper shows ELBO and Frechet distance of three pairs; here stands the evidence beside
them, from both sides for the truth, and the same training with a guide of low rank. All densities are those of
images in [-1, 1], as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import sandwich
from ppl_vae.evidence.figures import OKABE_ITO, show_lines, show_sheets
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.sleep_phase import SleepPhase
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.figures import draw_bars
from ppl_vae.studies.gan_truth import GanTruth, against_truth
from ppl_vae.studies.grid import Cells, Grid, slug
from ppl_vae.studies.report import Report, Row, with_error
from ppl_vae.studies.study import Study
from ppl_vae.training.gan_settings import GanSettings
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "corpus": "bars", "size": 8, "data": 200, "latents": 3, "channels": 2, "gan_epochs": 1,
        "simulated": 100, "asleep": 1, "epochs": 1, "batch": 50, "rank": 2, "tested": 20, "sampled": 100,
        "annealed": 2, "chains": 4, "temperatures": 2, "leapfrog_steps": 1, "features": "classifier",
    },
    "cpu": {
        "seeds": 3, "corpus": "mnist", "size": 32, "data": 20_000, "latents": 32, "channels": 16, "gan_epochs": 6,
        "simulated": 16_000, "asleep": 6, "epochs": 3, "batch": 64, "rank": 16, "tested": 200, "sampled": 5_000,
        "annealed": 8, "chains": 4, "temperatures": 300, "leapfrog_steps": 5, "features": "classifier",
    },
    "paper": {
        "seeds": 3, "corpus": "celeba", "size": 64, "data": 200_000, "latents": 100, "channels": 64, "gan_epochs": 5,
        "simulated": 200_000, "asleep": 20, "epochs": 20, "batch": 128, "rank": 32, "tested": 2_000,
        "sampled": 200_000, "annealed": 16, "chains": 16, "temperatures": 2_000, "leapfrog_steps": 10,
        "features": "inception",
    },
}  # fmt: skip
SIGMA = 0.025
"""The truth's sigma, of images in [0, 1]: 0.05 in [-1, 1]."""
ASLEEP, KEPT = "conditional likelihood", "ELBO, decoder kept"
FIXED, LEARNED = "ELBO, sigma fixed", "ELBO, sigma learned"
MOVED = (FIXED, LEARNED)
"""Objectives that train both; under the others the guide alone learns, the decoder being the true one."""
GUIDES = {"mean field": "convolutional", "low rank": "low_rank"}
PLAIN, WIDE = GUIDES
"""Annealing always begins from the second as its sleep phase left it: evidences from different guides would compare
these, and one that climbed the ELBO is too narrow for annealing."""
PAPER = {ASLEEP: (-364513.78, 0.13), FIXED: (-5898.94, 77.10), LEARNED: (9035.69, 117.87)}
COLOURS = {ASLEEP: OKABE_ITO.blue, KEPT: OKABE_ITO.sky_blue, FIXED: OKABE_ITO.orange, LEARNED: OKABE_ITO.vermilion}
WAYS = tuple(product(GUIDES, COLOURS))
SHOWN = 10
Way = tuple[str, str]
"""A guide, and what was maximised."""
SAMPLES, MEANS, LOST = "distance of samples", "distance of means", "likelihood lost, eq. (4), at most"


def truth_of(study: Study, sizes: Mapping[str, Any], seed: int) -> GanTruth:
    """The truth that all cells of a seed share."""
    settings = GanSettings(sizes["latents"], sizes["channels"], sizes["gan_epochs"], sizes["batch"], seed=seed)
    return GanTruth(study, sizes["corpus"], sizes["size"], sizes["data"], settings, SIGMA, sizes["features"])


def trained(truth: GanTruth, sizes: Mapping[str, Any], way: Way) -> tuple[Any, Any]:
    """A pair trained one way: by the sleep phase, and from there by the ELBO, the guide alone or both."""
    (name, what), seed, simulated = way, truth.settings.seed, sizes["simulated"]
    settings = partial(Settings, batch_size=sizes["batch"], learning_rate=1e-3, decay="cosine", seed=seed, clip=0.0)
    model, guide = truth.pair(GUIDES[name], **({"rank": sizes["rank"]} if name == WIDE else {}))
    asleep, run = settings([(sizes["asleep"], 1)]), f"{slug((name, ASLEEP))}-{seed}"
    truth.study.train(run, model, guide, truth.batch(simulated), asleep, objective=SleepPhase())
    if what == ASLEEP:
        return model, guide
    model = truth.model("learned" if what == LEARNED else None).requires_grad_(what != KEPT)
    _, x = truth.draw(simulated, 1)
    truth.study.train(f"{slug(way)}-{seed}", model, guide, x, settings([(sizes["epochs"], 1)]))
    return model, guide


def truth_cell(study: Study, sizes: Mapping[str, Any], condition: str, seed: int) -> dict[str, Tensor]:
    """Evidence of images of the truth under it, from both sides."""
    truth, schedule = truth_of(study, sizes, seed), Schedule(sizes["temperatures"], sizes["leapfrog_steps"], "guide")
    drawn = truth.draw(sizes["annealed"], 3)
    return truth.evidence(trained(truth, sizes, (WIDE, ASLEEP)), drawn, sizes["chains"], schedule)


def cell(study: Study, sizes: Mapping[str, Any], way: Way, seed: int) -> dict[str, Tensor]:
    """A pair trained one way, measured on images of the truth in nats, on the scale of [-1, 1]."""
    truth, chains = truth_of(study, sizes, seed), sizes["chains"]
    steps = {name: sizes[name] for name in ("temperatures", "leapfrog_steps")} | {"start": "guide"}
    model, guide = trained(truth, sizes, way)
    (z, x), few = truth.draw(sizes["tested"], 2), truth.draw(sizes["annealed"], 3)[1]
    elbo, of_few = (measure(model, guide, part, method="importance", draws=20).elbo.pointwise for part in (x, few))
    values: dict[str, Tensor] = {"elbo": elbo - truth.shift, "elbo of few": of_few - truth.shift}
    if way[1] in MOVED:
        wide = trained(truth, sizes, (WIDE, ASLEEP))[1]
        lower = measure(model, wide, few, method="annealing", draws=chains, **steps).evidence
        # On data from the pair's own model, to see how far apart its bounds are.
        own = sandwich(model, wide, few[: (len(few) + 2) // 3], draws=chains, schedule=Schedule(**steps))
        values |= {"lower": lower.pointwise - truth.shift, "width": own.width.pointwise}
    values |= {key: truth.distance(model, sizes["sampled"], means=key == MEANS) for key in (SAMPLES, MEANS)}
    return values | {"sigma": 2 * model.noise(z[:1]).mean().detach(), **truth.shown(model, guide, x[:SHOWN])}


def run(study: Study, **sizes: Any) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        sizes: ``seeds``, repetitions from the generator on; ``corpus`` of images, ``celeba`` being a folder in the
            data folder; ``size``, their side; ``data``, how many train the generator, for ``gan_epochs``; ``latents``
            and ``channels`` of the networks; ``simulated`` images train a pair, for ``asleep`` epochs by the
            conditional likelihood and ``epochs`` by the ELBO, in batches of ``batch``; ``rank`` of the richer guide;
            ``tested`` images measure the ELBO and ``annealed`` of them the evidence, with ``chains``,
            ``temperatures`` and ``leapfrog_steps``; ``sampled`` images per set are compared by ``features``.
    """
    seeds, features = sizes["seeds"], truth_of(study, sizes, 0).features  # trained before others wait for it
    truths = Grid(study, ["generator"], seeds)
    generators = truths.compute(lambda _, seed: truth_of(study, sizes, seed).trained(sizes["sampled"], 8 * SHOWN))
    cells: dict[Way, list[dict[str, Tensor]]] = {}
    for stage in ((ASLEEP,), (KEPT, *MOVED)):  # what the second begins with, the first has trained
        cells |= Grid(study, product(GUIDES, stage), seeds).compute(partial(cell, study, sizes))
    known = Grid(study, ["truth"], seeds).compute(partial(truth_cell, study, sizes))
    pairs = Cells({way: list(map(against_truth, cells[way], known["truth"])) for way in WAYS})
    sheets = {name: generators["generator"][0][name] for name in ("test images", "means of the truth")}
    title = "The ground truth is a generator of images"
    study.figure("generator", partial(show_sheets, sheets=sheets, columns=SHOWN, title=title), (10.6, 5.2))
    again, same = lines_of(pairs)
    title = "Reconstructions: p(x | z) at the mean of the guide, or at a draw from it"
    study.figure("reconstructions", partial(show_lines, lines=again, title=title), (10.0, 8.4))
    title = "The same codes from the prior under each decoder"
    study.figure("same-codes", partial(show_lines, lines=same, title=title), (10.0, 4.2))
    study.figure("harm", partial(draw_harm, cells=pairs, features=features.name), (12.0, 5.0))
    group, distances = "ground truth", ("from test images", "training from test images")
    bounds = {"evidence, at least": "lower", "evidence, at most": "upper", "width of the bounds": "width"}
    rows = [Row(name, generators.means("generator", name), unit="Frechet", group=group) for name in distances]
    rows += [Row(name, known.means("truth", key), group=group, digits=1) for name, key in bounds.items()]
    rows += [row for way in WAYS for row in rows_of(way, pairs, sizes["corpus"] == "celeba")]
    title = f"A GAN of {sizes['corpus']} as the truth; Frechet distance ({features.name})"
    return Report(title, rows, claims_of(pairs), notes(sizes))


def notes(sizes: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader must know before believing the figures."""
    few, own = sizes["annealed"], (sizes["annealed"] + 2) // 3
    return (
        "densities are of images in [-1, 1], the scale of the paper",
        f"ELBO of {sizes['tested']} images drawn from the truth; evidence and gap of {few} others, annealed from one "
        f"guide, {WIDE} after the sleep phase: a lower bound, and under the truth, whose codes of these images are "
        f"known, an upper one too. The width of a pair with a trained decoder is of {own} data from its own model, "
        "where both are known: how far annealing can be trusted",
        "the gap is at least what is shown; likelihood lost, eq. (4), at most: upper bound of the truth's evidence "
        "minus lower bound of the pair's, on the same images",
        "Frechet distance between as many images of the pair's model and of the truth, p(x | z) with its noise and "
        "its means alone; where the decoder is the truth's, its distance is what their count makes",
    )


def rows_of(way: Way, cells: Cells[Way], comparable: bool) -> list[Row]:
    """The rows of one pair."""
    name, what = way
    elbo, distance = PAPER.get(what, (None, None)) if comparable and name == PLAIN else (None, None)
    row = partial(Row, group=f"{what}; {name}")
    bounds = {"evidence, at least": "lower", "width of the bounds, own data": "width", LOST: "lost"}
    return [
        row("ELBO", cells.means(way, "elbo"), elbo, digits=1),
        row(SAMPLES, cells.means(way, SAMPLES), distance, unit="Frechet"),
        row(MEANS, cells.means(way, MEANS), unit="Frechet"),
        row("gap, at least", cells.means(way, "gap"), digits=1),
        *(row(n, cells.means(way, key), digits=1) for n, key in bounds.items() if what in MOVED),
        row("sigma", cells.means(way, "sigma"), unit="", digits=4),
    ]


def claims_of(cells: Cells[Way]) -> list[Claim]:
    """What the paper found, and what its theory leads to expect."""

    def of(what: str, key: str, name: str = PLAIN) -> Tensor:
        return torch.tensor(cells.means((name, what), key), dtype=torch.float64)

    claims = [
        Claim.greater(f"{title} from {before} to {after}", of(after, key) - of(before, key))
        for key, title in (("elbo", "the ELBO rises"), (SAMPLES, "the Frechet distance worsens"))
        for before, after in ((ASLEEP, FIXED), (FIXED, LEARNED))
    ]
    text = "with sigma fixed the ELBO rises by moving the decoder, more than by the guide's learning alone"
    figures = f"{with_error(of(KEPT, 'elbo') - of(ASLEEP, 'elbo'))} nats by the guide"
    claims.append(Claim.greater(text, of(FIXED, "elbo") - of(KEPT, "elbo"), figures=figures))
    for what in MOVED:
        before, after = of(KEPT, "gap"), of(what, "gap")
        text = f"{what}: the gap narrows, against the decoder kept"
        figures = f"from {with_error(before)} to {with_error(after)} nats, each at least"
        claims.append(Claim.greater(text, before - after, figures=figures))
        fallen, lost, width = of(KEPT, "lower") - of(what, "lower"), of(what, "lost"), of(what, "width")
        text = f"{what}: likelihood is lost, eq. (4), by more than the pair's bounds are apart on its own data"
        figures = f"{with_error(fallen)} nats as annealed, at most {with_error(lost)}; apart {with_error(width)}"
        claims.append(Claim.greater(text, fallen - width, figures=figures))
    for what in MOVED:
        harm, left = (of(what, SAMPLES, name) - of(ASLEEP, SAMPLES, name) for name in GUIDES)
        text = f"{what}: under a guide of low rank the Frechet distance rises less"
        undone = 1 - left.mean() / harm.mean()
        figures = f"by {with_error(left)} instead of {with_error(harm)}, {undone:.0%} undone"
        claims.append(Claim.greater(text, harm - left, figures=figures))
        gain = of(what, "lower", WIDE) - of(what, "lower")
        claims.append(Claim.greater(f"{what}: and more of the evidence is kept, as annealed", gain))
    return claims


def lines_of(cells: Cells[Way]) -> tuple[list[tuple[str, Tensor]], list[tuple[str, Tensor]]]:
    """Lines of images by the guide's codes, as in the paper's Fig. 3, and by the same codes, as in its Fig. 4."""
    again, same = ([("truth", cells[PLAIN, ASLEEP][0][key])] for key in ("shown", "same codes"))
    for name in GUIDES:
        again.append((f"{ASLEEP}, {name}\nmean of the guide", cells[name, ASLEEP][0]["from the mean"]))
        again += [(f"{what}, {name}\na draw", cells[name, what][0]["from a draw"]) for what in COLOURS]
        same += [(f"{what}\n{name}", cells[name, what][0]["same codes"]) for what in MOVED]
    return again, same


def draw_harm(figure: Figure, cells: Cells[Way], features: str) -> None:
    """Gap, evidence and Frechet distance of each pair."""
    left, middle, right = figure.subplots(1, 3, sharey=True)
    for axes, key, ways in ((left, "gap", COLOURS), (middle, "lost", MOVED)):  # the truth itself loses nothing
        values = {f"{w}\n{name}": cells.means((name, w), key) if w in ways else [0.0] for name, w in WAYS}
        draw_bars(axes, values, [COLOURS[what] for _, what in WAYS], least=0.0)
    for key, marker, label in ((SAMPLES, "o", "samples"), (MEANS, "D", "means")):
        for place, way in enumerate(WAYS):
            distances = [max(value, 1e-6) for value in cells.means(way, key)]
            right.plot(distances, [place] * len(distances), marker, color=COLOURS[way[1]])
        right.plot([], [], marker, color="0.5", label=label)
    left.set(xscale="symlog", xlabel="gap, at least\n(nats per image; dots: seeds)")
    middle.set(xscale="symlog", xlabel="likelihood lost, at most\n(nats per image; the truth loses 0)")
    right.set(xscale="log", xlabel=f"Frechet distance from the truth\n({features})")
    right.xaxis.set_minor_formatter("")
    right.legend(frameon=False)
    figure.suptitle("Gap, likelihood lost, and distance from the truth, by guide and by what was maximised")
