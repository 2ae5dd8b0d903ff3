"""A GAN as the truth: how ELBO training harms a decoder that was right, and how far a richer guide undoes it.

Section 4.2 of Schlesinger, Shekhovtsov and Flach (2021): the generator of a GAN with a little noise is the true model
of its own images. A guide learns from images and their codes (conditional likelihood); then both are trained on the
ELBO, beginning at the truth. The paper shows ELBO and Frechet distance of three pairs; here stands the evidence beside
them, from both sides for the truth, and the same training with a guide of low rank. All densities are those of
images in [-1, 1], as in the paper.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from ppl_vae.guides.convolutional import Convolutional
from ppl_vae.guides.low_rank import LowRank
from ppl_vae.models.gan_gaussian import GanGaussian
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.diagnostics.images.features import Features, classifier, inception
from ppl_vae.diagnostics.images.frechet import Moments, drawn_images, frechet_distance
from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import sandwich
from ppl_vae.evidence.figures import show_sheet
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.modes import evaluating
from ppl_vae.objectives.sleep_phase import SleepPhase
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.gan import FILE, fit_generator
from ppl_vae.training.gan_settings import GanSettings
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "corpus": "bars", "size": 8, "data": 400, "latents": 3, "channels": 2, "gan_epochs": 2,
        "simulated": 200, "asleep": 2, "epochs": 2, "batch": 50, "rank": 2, "tested": 30, "sampled": 200,
        "annealed": 3, "chains": 2, "temperatures": 5, "leapfrog_steps": 2, "features": "classifier",
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
"""The truth's, of images in [0, 1]: 0.05 in [-1, 1]."""
ASLEEP, KEPT = "conditional likelihood", "ELBO, decoder kept"
FIXED, LEARNED = "ELBO, sigma fixed", "ELBO, sigma learned"
AT_TRUTH, MOVED = (ASLEEP, KEPT), (FIXED, LEARNED)
"""What was maximised with the true decoder as it is, the guide alone learning, and what moved both."""
GUIDES = ("mean field", "low rank")
WIDE = "low rank"
"""The guide that all annealing begins from, as it slept: evidences from different ones would compare these. One that
climbed the ELBO is too narrow for it."""
PAPER = {ASLEEP: (-364513.78, 0.13), FIXED: (-5898.94, 77.10), LEARNED: (9035.69, 117.87)}
COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00")
SHOWN = 10
WAYS = tuple((name, what) for name in GUIDES for what in (*AT_TRUTH, *MOVED))

Way = tuple[str, str]
"""Which guide, and what was maximised."""
Values = list[dict[str, Tensor]]
"""What was found, a seed each."""


@lru_cache(maxsize=1)  # those of the paper's size take minutes to read
def images(corpus: str, size: int, data: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Training and test images with their labels, where there are any; bars are doubled."""
    where = Path(os.environ.get("PPL_VAE_DATA", ".")) / corpus
    name = str(where) if corpus == "celeba" else corpus
    found = load_corpus(name, validation=0, **({} if corpus == "bars" else {"image_size": size}))
    splits: tuple[dict[str, Tensor], ...] = ({"x": found.train.values[:data]}, {"x": found.test.values})
    for part, label in zip(splits, (found.train.labels, found.test.labels), strict=True):
        if corpus == "bars":
            part["x"] = part["x"].unflatten(1, (4, 4)).repeat_interleave(2, 1).repeat_interleave(2, 2)
        if label is not None:
            part["labels"] = label[: len(part["x"])]
    return splits[0], splits[1]


class Truth:
    """What all cells of a seed share: the generator, and the images drawn from it.

    Arguments:
        study: Where it is kept.
        sizes: The settings of the experiment.
        seed: Of this repetition.
    """

    def __init__(self, study: Study, sizes: Mapping[str, Any], seed: int) -> None:
        self.study, self.sizes, self.seed = study, sizes, seed
        self.folder = study.folder / "runs" / f"generator-{seed}"
        self.shape = tuple(images(sizes["corpus"], sizes["size"], sizes["data"])[0]["x"].shape[1:])

    def train(self) -> dict[str, Tensor]:
        """Trains the generator, or what is left of it to do, and compares it with the images it learned from."""
        sizes, device = self.sizes, self.study.device
        settings = GanSettings(sizes["latents"], sizes["channels"], sizes["gan_epochs"], sizes["batch"], seed=self.seed)
        what = {"generator": json.loads(json.dumps(asdict(settings)))}
        run = (
            RunFolder.open(self.folder)
            if (self.folder / "config.json").exists()
            else RunFolder.create(self.folder, what)
        )
        train, test = images(sizes["corpus"], sizes["size"], sizes["data"])
        found = fit_generator(train["x"].to(device), run, settings)
        by = self.features()
        model = self.model("fixed").to(device)
        data = Moments(by(part.to(device)) for part in test["x"].split(500))
        own = Moments(by(part) for part in drawn_images(model, test["x"][:1].to(device), sizes["sampled"]))
        count = min(len(train["x"]), sizes["sampled"])
        again = Moments(by(part.to(device)) for part in train["x"][:count].split(500))
        z = torch.randn(8 * SHOWN, sizes["latents"], device=device)
        with torch.no_grad():
            drawn = model.decode(z)[0]
        return {
            "to data": torch.tensor(frechet_distance(own, data)),
            "data to data": torch.tensor(frechet_distance(again, data)),
            "data": test["x"][: 8 * SHOWN],
            "drawn": drawn,
            "losses": torch.tensor([[row["generator_loss"], row["discriminator_loss"]] for row in found.rows]),
        }

    def features(self) -> Features:
        """What images are compared by."""
        if self.sizes["features"] == "inception":
            return inception(device=self.study.device)
        train, test = images(self.sizes["corpus"], self.sizes["size"], self.sizes["data"])
        device, file = self.study.device, self.study.folder / "classifier.safetensors"
        title = {"mnist": "MNIST"}.get(self.sizes["corpus"], self.sizes["corpus"])
        held = (test["x"].to(device), test["labels"].to(device))
        return classifier(train["x"].to(device), train["labels"].to(device), title, file, held)

    def model(self, sigma: str) -> GanGaussian:
        """The true model, with its noise fixed or to be learned from where it is."""
        noise = {"fixed": str(SIGMA), "learned": "learned"}[sigma]
        file = str(self.folder / FILE)
        return GanGaussian(self.sizes["latents"], self.sizes["channels"], file, noise, SIGMA, shape=self.shape)

    @property
    def schedule(self) -> Schedule:
        """How to anneal."""
        return Schedule(**self.steps)

    @property
    def steps(self) -> dict[str, int]:
        """Numbers of temperatures and of leapfrog steps of annealing."""
        return {name: self.sizes[name] for name in ("temperatures", "leapfrog_steps")}

    def guide(self, model: GanGaussian, name: str) -> Any:
        """A guide with the discriminator's convolutions."""
        x, channels = torch.zeros(2, *self.shape), self.sizes["channels"]
        if name == "low rank":
            return LowRank(model, x, self.sizes["rank"], network="discriminator", channels=channels)
        return Convolutional(model, x, channels, network="discriminator")

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Codes and images of the truth."""
        torch.manual_seed(1_000 * self.seed + seed)
        device = self.study.device
        drawn, x = simulate(self.model("fixed").to(device), self.places(count))
        return drawn["z"], x

    def places(self, count: int) -> Tensor:
        """The shape of so many images, in the memory of one."""
        return torch.zeros(1, *self.shape, device=self.study.device).expand(count, *self.shape)

    def settings(self, epochs: int) -> Settings:
        """How a pair is trained."""
        return Settings([(epochs, 1)], self.sizes["batch"], learning_rate=1e-3, decay="cosine", seed=self.seed)

    def slept(self, name: str) -> tuple[GanGaussian, Any]:
        """The truth and a guide that has learned from its images and their codes, each batch drawn afresh."""
        torch.manual_seed(self.seed)
        model = self.model("fixed").requires_grad_(False)
        guide = self.guide(model, name)
        places, settings = self.places(self.sizes["simulated"]), self.settings(self.sizes["asleep"])
        self.study.train(label((name, ASLEEP), self.seed), model, guide, places, settings, objective=SleepPhase())
        return model, guide

    def climbed(self, way: Way) -> tuple[GanGaussian, Any]:
        """A pair trained on from there by the ELBO of images of the truth: the guide alone, or both."""
        name, what = way
        guide = self.slept(name)[1]
        model = self.model("learned" if what == LEARNED else "fixed").requires_grad_(what != KEPT)
        x = self.draw(self.sizes["simulated"], 1)[1]
        self.study.train(label(way, self.seed), model, guide, x, self.settings(self.sizes["epochs"]))
        return model, guide


def evidence_of_truth(truth: Truth) -> dict[str, Tensor]:
    """What annealing says of images of the truth under it, from both sides, since their codes are known."""
    sizes = truth.sizes
    z, x = truth.draw(sizes["annealed"], 3)
    model, wide = truth.slept(WIDE)
    both = sandwich(model, wide, x, draws=sizes["chains"], schedule=truth.schedule, drawn_with={"z": z})
    shift = math.log(2) * x[0].numel()
    return {
        "lower": both.lower.pointwise - shift,
        "upper": both.upper.pointwise - shift,
        "width": both.width.pointwise,
    }


def trained(truth: Truth, way: Way) -> dict[str, Tensor]:
    """A pair trained one way, measured on images of the truth in nats, on the scale of [-1, 1]."""
    name, what = way
    sizes = truth.sizes
    model, guide = truth.slept(name) if what == ASLEEP else truth.climbed(way)
    (z, x), few = truth.draw(sizes["tested"], 2), truth.draw(sizes["annealed"], 3)[1]
    shift = math.log(2) * x[0].numel()
    elbo, of_few = (measure(model, guide, part, method="importance", draws=20).elbo.pointwise for part in (x, few))
    bounds = {}
    if what in MOVED:
        wide = truth.slept(WIDE)[1]
        lower = measure(model, wide, few, method="annealing", draws=sizes["chains"], **truth.steps).evidence.pointwise
        own = sandwich(model, wide, few[: own_data(sizes["annealed"])], draws=sizes["chains"], schedule=truth.schedule)
        bounds = {"lower": lower - shift, "width": own.width.pointwise}
    by = truth.features()
    distances = {}
    for kind, means in (("samples", False), ("means", True)):
        ours, theirs = (
            Moments(by(part) for part in drawn_images(each, x, sizes["sampled"], means=means))
            for each in (model, truth.model("fixed").to(x.device))
        )
        distances[f"distance of {kind}"] = torch.tensor(frechet_distance(ours, theirs))
    codes = torch.randn(SHOWN, sizes["latents"], generator=torch.Generator().manual_seed(truth.seed)).to(x.device)
    with evaluating(model, guide):
        fn = guide.members(guide.encoder(x[:SHOWN]))["z"]
        sheets = {
            "shown": x[:SHOWN],
            "from the mean": model.decode(fn.mean)[0],
            "from a draw": model.decode(fn.sample())[0],
            "same codes": model.decode(codes)[0],
        }
        sigma = model.noise(z[:1]).mean()
    elbos = {"elbo": elbo - shift, "elbo of few": of_few - shift}
    return distances | sheets | bounds | elbos | {"sigma": 2 * sigma.detach()}


def own_data(annealed: int) -> int:
    """How many data are drawn from a pair's own model, to see how far apart its bounds are."""
    return (annealed + 2) // 3


def run(study: Study, **sizes: Any) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        sizes: ``seeds``, repetitions from the generator on; ``corpus`` of images, ``celeba`` being a folder in the
            data folder; ``size``, their side; ``data``, how many train the generator, for ``gan_epochs``; ``latents``
            and ``channels`` of the networks; ``simulated`` images train a pair, for ``asleep`` epochs by the
            conditional likelihood and ``epochs`` by the ELBO, in batches of ``batch``; ``rank`` of the richer guide;
            ``tested`` images measure the ELBO and ``annealed`` of them the evidence, with ``chains``,
            ``temperatures`` and ``leapfrog_steps``; ``sampled`` images a set are compared by ``features``.
    """
    truths = [Truth(study, sizes, seed) for seed in range(sizes["seeds"])]
    truths[0].features()  # before others wait for it
    made = study.together({f"generator-{truth.seed}": truth.train for truth in truths})
    values: dict[str, dict[str, Tensor]] = {}
    for stage in ((ASLEEP,), (KEPT, FIXED, LEARNED)):
        ways = [(name, what) for name in GUIDES for what in stage]
        # One seed after the other: a report of fewer (--seeds) can be had before all are done.
        cells = {label(way, truth.seed): partial(trained, truth, way) for truth in truths for way in ways}
        values |= study.together(cells)
    known = study.together({f"truth-{truth.seed}": partial(evidence_of_truth, truth) for truth in truths})
    pairs = {way: [values[label(way, truth.seed)] for truth in truths] for way in WAYS}
    generators, shown = list(made.values()), Found(pairs, list(known.values()))
    study.figure("generator", partial(draw_generator, found=generators[0]), (10.6, 5.2))
    study.figure("reconstructions", partial(draw_reconstructions, shown=shown), (10.0, 8.4))
    study.figure("same-codes", partial(draw_same_codes, shown=shown), (10.0, 4.2))
    study.figure("harm", partial(draw_harm, shown=shown, by=truths[0].features().name), (12.0, 5.0))
    by, paper = truths[0].features().name, sizes["corpus"] == "celeba"
    group = "ground truth"
    quantities = {"from test images": "to data", "training from test images": "data to data"}
    rows = [
        Row(quantity, [float(each[key]) for each in generators], unit="Frechet", group=group)
        for quantity, key in quantities.items()
    ]
    bounds = {"evidence, at least": "lower", "evidence, at most": "upper", "width of the bounds": "width"}
    rows += [Row(words, means(shown.truth, key).tolist(), group=group, digits=1) for words, key in bounds.items()]
    for way in WAYS:
        rows += rows_of(way, shown, paper)
    title = f"A GAN of {sizes['corpus']} as the truth; Frechet distance ({by})"
    return Report(title, rows, claims_of(shown), notes(sizes))


def notes(sizes: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader must know before believing the figures."""
    few, own = sizes["annealed"], own_data(sizes["annealed"])
    return (
        "densities are of images in [-1, 1], the scale of the paper",
        f"ELBO of {sizes['tested']} images drawn from the truth; evidence and gap of {few} others, annealed from one "
        f"guide, {WIDE} as it slept: a lower bound, and under the truth, whose codes of these images are known, an "
        f"upper one too. The width of a pair that was moved is of {own} data from its own model, where both are to be "
        "had: how far annealing can be trusted",
        "the gap is at least what is shown; likelihood lost, eq. (4), at most: upper bound of the truth's evidence "
        "minus lower bound of the pair's, on the same images",
        "Frechet distance between as many images of the pair's model and of the truth, p(x | z) with its noise and "
        "its means alone; where the decoder is the truth's, its distance is what their count makes",
    )


@dataclass(frozen=True)
class Found:
    """What was measured.

    Arguments:
        pairs: Of each way, a seed each.
        truth: The evidence of the truth, a seed each.
    """

    pairs: Mapping[Way, Values]
    truth: Values

    def of(self, way: Way, key: str) -> Tensor:
        """Means over the data, a seed each."""
        return means(self.pairs[way], key)

    def lower(self, way: Way) -> Tensor:
        """Evidence of images of the truth, at least."""
        return means(self.truth, "lower") if way[1] in AT_TRUTH else self.of(way, "lower")

    def gap(self, way: Way) -> Tensor:
        """Evidence minus ELBO of the same images, at least."""
        return self.lower(way) - self.of(way, "elbo of few")

    def lost(self, way: Way) -> Tensor:
        """The approximation error of eq. (4), at most: upper bound of the truth's evidence less the pair's lower."""
        return means(self.truth, "upper") - self.lower(way)


def means(values: Values, key: str) -> Tensor:
    """Over the data, a seed each."""
    return torch.stack([each[key].double().mean() for each in values])


def label(way: Way, seed: int) -> str:
    """Of a cell."""
    return f"{way[0]}-{way[1]}-{seed}".replace(",", "").replace(" ", "-")


def rows_of(way: Way, shown: Found, paper: bool) -> list[Row]:
    """What was measured of one way."""
    name, what = way
    group = f"{what}; {name}"
    printed = PAPER.get(what, (None, None)) if paper and name == "mean field" else (None, None)

    def row(quantity: str, values: Tensor, printed: float | None = None, unit: str = "nats", digits: int = 1) -> Row:
        return Row(quantity, values.tolist(), printed, unit=unit, group=group, digits=digits)

    found = [
        row("ELBO", shown.of(way, "elbo"), printed[0]),
        row("distance of samples", shown.of(way, "distance of samples"), printed[1], "Frechet", 3),
        row("distance of means", shown.of(way, "distance of means"), None, "Frechet", 3),
        row("gap, at least", shown.gap(way)),
    ]
    if what in MOVED:
        found += [
            row("evidence, at least", shown.lower(way)),
            row("width of the bounds, own data", shown.of(way, "width")),
            row("likelihood lost, eq. (4), at most", shown.lost(way)),
        ]
    return [*found, row("sigma", shown.of(way, "sigma"), None, "", 4)]


def words(values: Tensor) -> str:
    """A mean over seeds with its error."""
    error = f" +- {values.std() / len(values) ** 0.5:.2g}" if len(values) > 1 else ""
    return f"{values.mean():.4g}{error}"


def claims_of(shown: Found) -> list[Claim]:
    """What the paper found, and what its theory leads to expect."""

    def of(what: str, key: str, name: str = "mean field") -> Tensor:
        return shown.of((name, what), key)

    samples = "distance of samples"
    made = []
    for key, title in (("elbo", "the ELBO rises"), (samples, "the Frechet distance worsens")):
        for before, after in ((ASLEEP, FIXED), (FIXED, LEARNED)):
            rise = of(after, key) - of(before, key)
            made.append(Claim.greater(f"{title} from {before} to {after}", rise))
    moved, learned = of(FIXED, "elbo") - of(KEPT, "elbo"), of(KEPT, "elbo") - of(ASLEEP, "elbo")
    made.append(
        Claim.greater(
            "with sigma fixed the ELBO rises by moving the decoder, more than by the guide's learning alone",
            moved,
            figures=f"{words(learned)} nats by the guide",
        )
    )
    for what in MOVED:
        way = ("mean field", what)
        gaps = [shown.gap(each) for each in (("mean field", KEPT), way)]
        fallen, width = shown.lower(("mean field", KEPT)) - shown.lower(way), shown.of(way, "width")
        made += [
            Claim.greater(
                f"{what}: the gap narrows, against the decoder kept",
                gaps[0] - gaps[1],
                figures=f"from {words(gaps[0])} to {words(gaps[1])} nats, each at least",
            ),
            Claim.greater(
                f"{what}: likelihood is lost, eq. (4), by more than the pair's bounds are apart on its own data",
                fallen - width,
                figures=f"{words(fallen)} nats as annealed, at most {words(shown.lost(way))}; apart {words(width)}",
            ),
        ]
    for what in MOVED:
        harm, left = (of(what, samples, name) - of(ASLEEP, samples, name) for name in GUIDES)
        gain = of(what, "lower", "low rank") - of(what, "lower")
        made += [
            Claim.greater(
                f"{what}: under a guide of low rank the Frechet distance rises less",
                harm - left,
                figures=f"by {words(left)} instead of {words(harm)}, "
                f"{100 * (1 - left.mean() / harm.mean()):.0f}% undone",
            ),
            Claim.greater(f"{what}: and more of the evidence is kept, as annealed", gain),
        ]
    return made


def draw_generator(figure: Any, found: Mapping[str, Tensor]) -> None:
    """Test images beside those of the generator."""
    panels = figure.subplots(1, 2)
    for axes, key, title in zip(panels, ("data", "drawn"), ("test images", "means of the truth"), strict=True):
        show_sheet(axes, found[key], SHOWN)
        axes.set_title(title)
    figure.suptitle("The ground truth is a generator of images")


def draw_lines(figure: Any, lines: list[tuple[str, Tensor]]) -> None:
    """Lines of images, each named on its left."""
    panels = figure.subplots(len(lines), 1)
    for axes, (text, shown) in zip(panels, lines, strict=True):
        show_sheet(axes, shown, SHOWN)
        axes.set_anchor("E")
        axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)


def draw_reconstructions(figure: Any, shown: Found) -> None:
    """Images of the truth and what is made of them by the guide's codes, as the paper's Fig. 3."""
    lines = [("truth", shown.pairs[("mean field", ASLEEP)][0]["shown"])]
    for name in GUIDES:
        lines += [(f"{ASLEEP}, {name}\nmean of the guide", shown.pairs[(name, ASLEEP)][0]["from the mean"])]
        lines += [
            (f"{what}, {name}\na draw", shown.pairs[(name, what)][0]["from a draw"]) for what in (*AT_TRUTH, *MOVED)
        ]
    draw_lines(figure, lines)
    figure.suptitle("Reconstructions: p(x | z) at the mean of the guide, or at a draw from it")


def draw_same_codes(figure: Any, shown: Found) -> None:
    """What each decoder makes of the same codes, as the paper's Fig. 4."""
    lines = [("truth", shown.pairs[("mean field", ASLEEP)][0]["same codes"])]
    lines += [(f"{what}\n{name}", shown.pairs[(name, what)][0]["same codes"]) for name in GUIDES for what in MOVED]
    draw_lines(figure, lines)
    figure.suptitle("The same codes from the prior under each decoder")


def draw_harm(figure: Any, shown: Found, by: str) -> None:
    """Gap, evidence and Frechet distance of each pair."""
    left, middle, right = figure.subplots(1, 3, sharey=True)
    for place, way in enumerate(WAYS):
        colour = COLOURS[(*AT_TRUTH, *MOVED).index(way[1])]
        for axes, values in ((left, shown.gap(way)), (middle, shown.lost(way))):
            axes.barh(place, max(float(values.mean()), 0.0), color=colour, height=0.6)
            axes.plot(values.tolist(), [place] * len(values), "k.", markersize=5)
        for key, marker in (("distance of samples", "o"), ("distance of means", "D")):
            values = shown.of(way, key)
            right.plot(values.clamp(min=1e-6).tolist(), [place] * len(values), marker, color=colour)
    for key, marker in (("samples", "o"), ("means", "D")):
        right.plot([], [], marker, color="0.5", label=key)
    left.set_yticks(range(len(WAYS)), [f"{what}\n{name}" for name, what in WAYS])
    left.invert_yaxis()
    left.set(xscale="symlog", xlabel="gap, at least\n(nats an image; dots: seeds)")
    middle.set(xscale="symlog", xlabel="likelihood lost, at most\n(nats an image; of the truth: width)")
    right.set(xscale="log", xlabel=f"Frechet distance from the truth\n({by})")
    right.xaxis.set_minor_formatter("")
    right.legend(frameon=False)
    figure.suptitle("Gap, likelihood lost, and distance from the truth, by guide and by what was maximised")
