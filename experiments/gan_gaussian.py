"""A GAN as the truth: how ELBO training harms a decoder that was right, and how far a richer guide undoes it.

Section 4.2 of Schlesinger, Shekhovtsov and Flach (2021): the generator of a GAN with a little noise is the true model
of its own pictures. A guide learns from pictures and their codes (conditional likelihood); then both are trained on the
ELBO, beginning at the truth. The paper shows ELBO and Frechet distance of three pairs; here stands the evidence beside
them, from both sides for the truth, and the same training with a guide of low rank. All densities are those of
pictures in [-1, 1], as in the paper.
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from ppl_vae.guides.convolutional import Convolutional
from ppl_vae.guides.low_rank import LowRank
from ppl_vae.models.gan_gaussian import GanGaussian
from torch import Tensor

from ppl_vae.corpora import load_corpus
from ppl_vae.evidence import Schedule, measure, sandwich
from ppl_vae.features import Features, classifier, inception
from ppl_vae.frechet import Moments, drawn_pictures, frechet_distance
from ppl_vae.generators import FILE, GanSettings, fit_generator
from ppl_vae.modes import evaluating
from ppl_vae.report import Claim, Report, Row
from ppl_vae.runs import Run
from ppl_vae.settings import Settings
from ppl_vae.sheets import show_sheet
from ppl_vae.simulate import simulate
from ppl_vae.sleep import Sleep
from ppl_vae.study import Study

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "corpus": "bars", "size": 8, "data": 400, "latents": 3, "channels": 2, "gan_epochs": 2,
        "simulated": 200, "asleep": 2, "epochs": 2, "batch": 50, "rank": 2, "tested": 30, "sampled": 200,
        "annealed": 3, "chains": 2, "temperatures": 5, "leaps": 2, "features": "classifier",
    },
    "cpu": {
        "seeds": 2, "corpus": "mnist", "size": 32, "data": 20_000, "latents": 32, "channels": 16, "gan_epochs": 6,
        "simulated": 16_000, "asleep": 6, "epochs": 3, "batch": 64, "rank": 16, "tested": 200, "sampled": 5_000,
        "annealed": 8, "chains": 4, "temperatures": 300, "leaps": 5, "features": "classifier",
    },
    "paper": {
        "seeds": 3, "corpus": "celeba", "size": 64, "data": 200_000, "latents": 100, "channels": 64, "gan_epochs": 5,
        "simulated": 200_000, "asleep": 20, "epochs": 20, "batch": 128, "rank": 32, "tested": 2_000,
        "sampled": 200_000, "annealed": 16, "chains": 16, "temperatures": 2_000, "leaps": 10, "features": "inception",
    },
}  # fmt: skip
SIGMA = 0.025
"""The truth's, of pictures in [0, 1]: 0.05 in [-1, 1]."""
ASLEEP, KEPT = "conditional likelihood", "ELBO, decoder kept"
FIXED, LEARNED = "ELBO, sigma fixed", "ELBO, sigma learned"
AT_TRUTH, MOVED = (ASLEEP, KEPT), (FIXED, LEARNED)
"""What was maximised with the true decoder as it is, the guide alone learning, and what moved both."""
GUIDES = ("mean field", "low rank")
PAPER = {ASLEEP: (-364513.78, 0.13), FIXED: (-5898.94, 77.10), LEARNED: (9035.69, 117.87)}
COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00")
SHOWN = 10

Way = tuple[str, str]
"""Which guide, and what was maximised."""
Cells = dict[Way, list[dict[str, Tensor]]]
"""What was found, a seed each."""


@lru_cache(maxsize=1)  # those of the paper's size take minutes to read
def pictures(corpus: str, size: int, data: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Training and test pictures with their labels, where there are any; bars are doubled."""
    where = Path(os.environ.get("PPL_VAE_DATA", ".")) / corpus
    name = str(where) if corpus == "celeba" else corpus
    found = load_corpus(name, validation=0, picture_size=0 if corpus == "bars" else size)
    labels = {"train": found.train_labels, "test": found.test_labels}
    splits: tuple[dict[str, Tensor], ...] = ({"x": found.train[:data]}, {"x": found.test})
    for part, label in zip(splits, labels.values(), strict=True):
        if corpus == "bars":
            part["x"] = part["x"].unflatten(1, (4, 4)).repeat_interleave(2, 1).repeat_interleave(2, 2)
        if label is not None:
            part["labels"] = label[: len(part["x"])]
    return splits[0], splits[1]


class Truth:
    """What all cells of a seed share: the generator, and the pictures drawn from it.

    Arguments:
        study: Where it is kept.
        sizes: The settings of the experiment.
        seed: Of this repetition.
    """

    def __init__(self, study: Study, sizes: Mapping[str, Any], seed: int) -> None:
        self.study, self.sizes, self.seed = study, sizes, seed
        self.folder = study.folder / "runs" / f"generator-{seed}"
        self.shape = tuple(pictures(sizes["corpus"], sizes["size"], sizes["data"])[0]["x"].shape[1:])

    def train(self) -> dict[str, Tensor]:
        """Trains the generator, or what is left of it to do, and compares it with the pictures it learned from."""
        sizes, device = self.sizes, self.study.device
        settings = GanSettings(sizes["latents"], sizes["channels"], sizes["gan_epochs"], sizes["batch"], seed=self.seed)
        what = {"generator": json.loads(json.dumps(asdict(settings)))}
        begun = (self.folder / "config.json").exists()
        run = Run.open(self.folder) if begun else Run.create(self.folder, what)
        train, test = pictures(sizes["corpus"], sizes["size"], sizes["data"])
        found = fit_generator(train["x"].to(device), run, settings)
        by = self.features()
        model = self.model("fixed").to(device)
        data = Moments(by(part.to(device)) for part in test["x"].split(500))
        own = Moments(by(part) for part in drawn_pictures(model, test["x"][:1].to(device), sizes["sampled"]))
        count = min(len(train["x"]), sizes["sampled"])
        again = Moments(by(part.to(device)) for part in train["x"][:count].split(500))
        z = torch.randn(8 * SHOWN, sizes["latents"], device=device)
        with torch.no_grad():
            drawn = model.law(z)[0]
        return {
            "to data": torch.tensor(frechet_distance(own, data)),
            "data to data": torch.tensor(frechet_distance(again, data)),
            "data": test["x"][: 8 * SHOWN],
            "drawn": drawn,
            "losses": torch.tensor([[row["generator_loss"], row["discriminator_loss"]] for row in found.rows]),
        }

    def features(self) -> Features:
        """What pictures are compared by."""
        if self.sizes["features"] == "inception":
            return inception(device=self.study.device)
        train, test = pictures(self.sizes["corpus"], self.sizes["size"], self.sizes["data"])
        device, file = self.study.device, self.study.folder / "classifier.safetensors"
        title = {"mnist": "MNIST"}.get(self.sizes["corpus"], self.sizes["corpus"])
        held = (test["x"].to(device), test["labels"].to(device))
        return classifier(train["x"].to(device), train["labels"].to(device), title, file, held)

    def model(self, sigma: str) -> GanGaussian:
        """The true model, with its noise fixed or to be learned from where it is."""
        noise = {"fixed": str(SIGMA), "learned": "learned"}[sigma]
        file = str(self.folder / FILE)
        return GanGaussian(self.sizes["latents"], self.sizes["channels"], file, noise, SIGMA, shape=self.shape)

    def guide(self, model: GanGaussian, name: str) -> Any:
        """A guide with the discriminator's convolutions."""
        x, channels = torch.zeros(2, *self.shape), self.sizes["channels"]
        if name == "low rank":
            return LowRank(model, x, self.sizes["rank"], network="discriminator", channels=channels)
        return Convolutional(model, x, channels, network="discriminator")

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Codes and pictures of the truth."""
        torch.manual_seed(1_000 * self.seed + seed)
        device = self.study.device
        drawn, x = simulate(self.model("fixed").to(device), torch.zeros(count, *self.shape, device=device))
        return drawn["z"], x

    def settings(self, epochs: int) -> Settings:
        """How a pair is trained."""
        return Settings([(epochs, 1)], self.sizes["batch"], learning_rate=1e-3, decay="cosine", seed=self.seed)

    def slept(self, name: str) -> tuple[GanGaussian, Any]:
        """The truth and a guide that has learned from its pictures and their codes, each batch drawn afresh."""
        torch.manual_seed(self.seed)
        model = self.model("fixed").requires_grad_(False)
        guide = self.guide(model, name)
        places = torch.zeros(self.sizes["simulated"], *self.shape, device=self.study.device)
        settings = self.settings(self.sizes["asleep"])
        self.study.train(label((name, ASLEEP), self.seed), model, guide, places, settings, objective=Sleep())
        return model, guide

    def climbed(self, way: Way) -> tuple[GanGaussian, Any]:
        """A pair trained on from there by the ELBO of pictures of the truth: the guide alone, or both."""
        name, what = way
        guide = copy.deepcopy(self.slept(name)[1])
        model = self.model("learned" if what == LEARNED else "fixed").requires_grad_(what != KEPT)
        x = self.draw(self.sizes["simulated"], 1)[1]
        self.study.train(label(way, self.seed), model, guide, x, self.settings(self.sizes["epochs"]))
        return model, guide


def trained(truth: Truth, way: Way) -> dict[str, Tensor]:
    """A pair trained one way, measured on pictures of the truth in nats, on the scale of [-1, 1]."""
    name, what = way
    sizes = truth.sizes
    model, guide = truth.slept(name) if what == ASLEEP else truth.climbed(way)
    z, x = truth.draw(sizes["tested"], 2)
    shift = math.log(2) * x[0].numel()
    schedule = Schedule(temperatures=sizes["temperatures"], leaps=sizes["leaps"])
    few, chains = x[: sizes["annealed"]], sizes["chains"]
    elbo = measure(model, guide, x, method="importance", draws=20).elbo.pointwise
    # A guide that climbed the ELBO is too narrow to anneal from; the one that only slept covers the posterior.
    wide = truth.slept(name)[1]
    bounds = {}
    if what == ASLEEP:
        both = sandwich(model, wide, few, draws=chains, schedule=schedule, drawn_with={"z": z[: len(few)]})
        bounds = {
            "lower": both.lower.pointwise - shift,
            "upper": both.upper.pointwise - shift,
            "width": both.width.pointwise,
        }
    elif what in MOVED:
        lower = measure(model, wide, few, method="annealing", draws=chains, schedule=schedule).evidence.pointwise
        own = sandwich(model, wide, few[: (len(few) + 2) // 3], draws=chains, schedule=schedule)
        bounds = {"lower": lower - shift, "width": own.width.pointwise}
    by = truth.features()
    distances = {}
    for kind, means in (("samples", False), ("means", True)):
        ours, theirs = (
            Moments(by(part) for part in drawn_pictures(each, x, sizes["sampled"], means=means))
            for each in (model, truth.model("fixed").to(x.device))
        )
        distances[f"distance of {kind}"] = torch.tensor(frechet_distance(ours, theirs))
    codes = torch.randn(SHOWN, sizes["latents"], generator=torch.Generator().manual_seed(truth.seed)).to(x.device)
    with evaluating(model, guide):
        fn = guide.members(guide.encoder(x[:SHOWN]))["z"]
        sheets = {
            "shown": x[:SHOWN],
            "from the mean": model.law(fn.mean)[0],
            "from a draw": model.law(fn.sample())[0],
            "same codes": model.law(codes)[0],
        }
        sigma = model.noise(z[:1]).mean()
    return distances | sheets | bounds | {"elbo": elbo - shift, "sigma": 2 * sigma.detach()}


def run(study: Study, **sizes: Any) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        sizes: ``seeds``, repetitions from the generator on; ``corpus`` of pictures, ``celeba`` being a folder in the
            data folder; ``size``, their side; ``data``, how many train the generator, for ``gan_epochs``; ``latents``
            and ``channels`` of the networks; ``simulated`` pictures train a pair, for ``asleep`` epochs by the
            conditional likelihood and ``epochs`` by the ELBO, in batches of ``batch``; ``rank`` of the richer guide;
            ``tested`` pictures measure the ELBO and ``annealed`` of them the evidence, with ``chains``,
            ``temperatures`` and ``leaps``; ``sampled`` pictures a set are compared by ``features``.
    """
    truths = [Truth(study, sizes, seed) for seed in range(sizes["seeds"])]
    truths[0].features()  # before others wait for it
    made = study.together({f"generator-{truth.seed}": truth.train for truth in truths})
    shown: Cells = {}
    for stage in ((ASLEEP,), (KEPT, FIXED, LEARNED)):
        ways = [(name, what) for name in GUIDES for what in stage]
        # One seed after the other: a report of fewer (--seeds) can be had before all are done.
        cells = {label(way, truth.seed): partial(trained, truth, way) for truth in truths for way in ways}
        found = study.together(cells)
        shown |= {way: [found[label(way, truth.seed)] for truth in truths] for way in ways}
    generators = list(made.values())
    study.figure("generator", partial(draw_generator, found=generators[0]), (10.6, 5.2))
    study.figure("reconstructions", partial(draw_reconstructions, shown=shown), (10.0, 8.4))
    study.figure("same-codes", partial(draw_same_codes, shown=shown), (10.0, 4.2))
    study.figure("harm", partial(draw_harm, shown=shown, by=truths[0].features().name), (12.0, 5.0))
    by, paper = truths[0].features().name, sizes["corpus"] == "celeba"
    group = "ground truth"
    quantities = {"from test pictures": "to data", "training from test pictures": "data to data"}
    rows = [
        Row(quantity, [float(each[key]) for each in generators], unit="Frechet", group=group)
        for quantity, key in quantities.items()
    ]
    for way in ((name, what) for name in GUIDES for what in (*AT_TRUTH, *MOVED)):
        rows += rows_of(way, shown, paper)
    title = f"A GAN of {sizes['corpus']} as the truth; Frechet distance ({by})"
    return Report(title, rows, claims_of(shown), NOTES)


NOTES = (
    "densities are of pictures in [-1, 1], the scale of the paper",
    "evidence: annealed, a lower bound, of pictures drawn from the truth; under the truth itself, whose codes of these "
    "pictures are known, also from above. Width: upper minus lower bound on data drawn from the pair's model, under "
    "the truth on those same pictures: how far annealing can be trusted",
    "the gap is at least what is shown; likelihood lost, eq. (4), at most: least upper bound of the truth's evidence "
    "minus lower bound of the pair's, on the same pictures; where they are close, it is the bounds that are apart",
    "Frechet distance between as many pictures of the pair's model and of the truth, p(x | z) with its noise and its "
    "means alone; for the conditional likelihood both are the truth's, and its distance is what their count makes",
)


def label(way: Way, seed: int) -> str:
    """Of a cell."""
    return f"{way[0]}-{way[1]}-{seed}".replace(",", "").replace(" ", "-")


def per_seed(shown: Cells, way: Way, key: str) -> Tensor:
    """Means over the data, a seed each."""
    name, what = way
    if what == KEPT and key in ("lower", "upper", "width"):
        way = (name, ASLEEP)  # the same model and pictures
    return torch.stack([each[key].double().mean() for each in shown[way]])


def gap_of(shown: Cells, way: Way) -> Tensor:
    """Evidence minus ELBO of the pictures whose evidence was annealed, at least, a seed each."""
    counts = (len(each["lower"]) for each in shown[(way[0], ASLEEP)])
    elbos = [each["elbo"][:count].double().mean() for each, count in zip(shown[way], counts, strict=True)]
    return per_seed(shown, way, "lower") - torch.stack(elbos)


def rows_of(way: Way, shown: Cells, paper: bool) -> list[Row]:
    """What was measured of one way."""
    name, what = way
    group = f"{what}; {name}"
    printed = PAPER.get(what, (None, None)) if paper and name == "mean field" else (None, None)

    def row(quantity: str, values: Tensor, printed: float | None = None, unit: str = "nats", digits: int = 1) -> Row:
        return Row(quantity, values.tolist(), printed, unit=unit, group=group, digits=digits)

    found = [
        row("ELBO", per_seed(shown, way, "elbo"), printed[0]),
        row("distance of samples", per_seed(shown, way, "distance of samples"), printed[1], "Frechet", 3),
        row("distance of means", per_seed(shown, way, "distance of means"), None, "Frechet", 3),
        row("evidence, at least", per_seed(shown, way, "lower")),
    ]
    if what == ASLEEP:
        found.append(row("evidence, at most", per_seed(shown, way, "upper")))
    found += [
        row("gap, at least", gap_of(shown, way)),
        row("width of the bounds", per_seed(shown, way, "width")),
    ]
    if what in MOVED:
        found.append(row("likelihood lost, eq. (4), at most", lost(shown, way)))
    return [*found, row("sigma", per_seed(shown, way, "sigma"), None, "", 4)]


def lost(shown: Cells, way: Way) -> Tensor:
    """The approximation error of eq. (4), at most: least upper bound of the truth's evidence less the pair's lower."""
    uppers = torch.stack([per_seed(shown, (name, ASLEEP), "upper") for name in GUIDES])
    return uppers.amin(0) - per_seed(shown, way, "lower")


def at_truth(shown: Cells) -> Tensor:
    """The evidence of the truth: the highest lower bound, a seed each."""
    lowers = [per_seed(shown, (name, ASLEEP), "lower") for name in GUIDES]
    return torch.stack(lowers).amax(0)


def words(values: Tensor) -> str:
    """A mean over seeds with its error."""
    error = f" +- {values.std() / len(values) ** 0.5:.2g}" if len(values) > 1 else ""
    return f"{values.mean():.4g}{error}"


def above(values: Tensor) -> bool:
    """Whether a mean over seeds is above 0, by more than two of its errors where there is one."""
    error = values.std() / len(values) ** 0.5 if len(values) > 1 else 0.0
    return bool(values.mean() > 2 * error)


def claims_of(shown: Cells) -> list[Claim]:
    """What the paper found, and what its theory leads to expect."""

    def of(what: str, key: str, name: str = "mean field") -> Tensor:
        return per_seed(shown, (name, what), key)

    samples = "distance of samples"
    made = []
    for key, title in (("elbo", "the ELBO rises"), (samples, "the Frechet distance worsens")):
        for before, after in ((ASLEEP, FIXED), (FIXED, LEARNED)):
            rise = of(after, key) - of(before, key)
            made.append(Claim(f"{title} from {before} to {after}", above(rise), f"by {words(rise)}"))
    moved, learned = of(FIXED, "elbo") - of(KEPT, "elbo"), of(KEPT, "elbo") - of(ASLEEP, "elbo")
    made.append(
        Claim(
            "with sigma fixed the ELBO rises by moving the decoder, beyond what the guide alone can learn",
            above(moved),
            f"{words(learned)} nats by the guide, {words(moved)} by the decoder",
        )
    )
    for what in MOVED:
        gaps = [gap_of(shown, ("mean field", each)) for each in (KEPT, what)]
        narrowed, fallen = gaps[0] - gaps[1], at_truth(shown) - of(what, "lower")
        made += [
            Claim(
                f"{what}: the gap narrows, against the decoder kept",
                above(narrowed),
                f"from {words(gaps[0])} to {words(gaps[1])} nats, each at least",
            ),
            Claim(
                f"{what}: likelihood is lost, eq. (4), as annealing finds it",
                above(fallen),
                f"{words(fallen)} nats; bounds are {words(of(KEPT, 'width'))} apart at the truth, "
                f"{words(of(what, 'width'))} for the pair",
            ),
        ]
    for what in MOVED:
        harm, left = (of(what, samples, name) - of(ASLEEP, samples, name) for name in GUIDES)
        gain = of(what, "lower", "low rank") - of(what, "lower")
        made += [
            Claim(
                f"{what}: under a guide of low rank the Frechet distance rises less",
                above(harm - left),
                f"by {words(left)} instead of {words(harm)}, {100 * (1 - left.mean() / harm.mean()):.0f}% undone",
            ),
            Claim(f"{what}: and more of the evidence is kept", above(gain), f"{words(gain)} nats, as annealed"),
        ]
    return made


def draw_generator(figure: Any, found: Mapping[str, Tensor]) -> None:
    """Test pictures beside those of the generator."""
    panels = figure.subplots(1, 2)
    for axes, key, title in zip(panels, ("data", "drawn"), ("test pictures", "means of the truth"), strict=True):
        show_sheet(axes, found[key], SHOWN)
        axes.set_title(title)
    figure.suptitle("The ground truth is a generator of pictures")


def draw_lines(figure: Any, lines: list[tuple[str, Tensor]]) -> None:
    """Lines of pictures, each named on its left."""
    panels = figure.subplots(len(lines), 1)
    for axes, (text, shown) in zip(panels, lines, strict=True):
        show_sheet(axes, shown, SHOWN)
        axes.set_anchor("E")
        axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)


def draw_reconstructions(figure: Any, shown: Cells) -> None:
    """Pictures of the truth and what is made of them by the guide's codes, as the paper's Fig. 3."""
    lines = [("truth", shown[("mean field", ASLEEP)][0]["shown"])]
    for name in GUIDES:
        lines += [(f"{ASLEEP}, {name}\nmean of the guide", shown[(name, ASLEEP)][0]["from the mean"])]
        lines += [(f"{what}, {name}\na draw", shown[(name, what)][0]["from a draw"]) for what in (*AT_TRUTH, *MOVED)]
    draw_lines(figure, lines)
    figure.suptitle("Reconstructions: p(x | z) at the mean of the guide, or at a draw from it")


def draw_same_codes(figure: Any, shown: Cells) -> None:
    """What each decoder makes of the same codes, as the paper's Fig. 4."""
    lines = [("truth", shown[("mean field", ASLEEP)][0]["same codes"])]
    lines += [(f"{what}\n{name}", shown[(name, what)][0]["same codes"]) for name in GUIDES for what in MOVED]
    draw_lines(figure, lines)
    figure.suptitle("The same codes from the prior under each decoder")


def draw_harm(figure: Any, shown: Cells, by: str) -> None:
    """Gap, evidence and Frechet distance of each pair."""
    left, middle, right = figure.subplots(1, 3, sharey=True)
    ways = [(name, what) for name in GUIDES for what in (*AT_TRUTH, *MOVED)]
    for place, way in enumerate(ways):
        colour = COLOURS[(*AT_TRUTH, *MOVED).index(way[1])]
        for axes, values in ((left, gap_of(shown, way)), (middle, lost(shown, way))):
            axes.barh(place, max(float(values.mean()), 0.0), color=colour, height=0.6)
            axes.plot(values.tolist(), [place] * len(values), "k.", markersize=5)
        for key, marker in (("distance of samples", "o"), ("distance of means", "D")):
            values = per_seed(shown, way, key)
            right.plot(values.clamp(min=1e-6).tolist(), [place] * len(values), marker, color=colour)
    for key, marker in (("samples", "o"), ("means", "D")):
        right.plot([], [], marker, color="0.5", label=key)
    left.set_yticks(range(len(ways)), [f"{what}\n{name}" for name, what in ways])
    left.invert_yaxis()
    left.set(xscale="symlog", xlabel="gap, at least (nats a picture)")
    middle.set(xscale="symlog", xlabel="likelihood lost, at most\n(nats a picture; of the truth: width)")
    right.set(xscale="log", xlabel=f"Frechet distance from the truth\n({by})")
    right.xaxis.set_minor_formatter("")
    right.legend(frameon=False)
    figure.suptitle("Gap, likelihood lost, and distance from the truth, by guide and by what was maximised")
