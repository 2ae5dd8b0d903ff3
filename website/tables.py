"""Pages and tables that are made from the code: ``python -m website.tables`` writes them.

A test compares them with the files, which are kept so that they can be read without a build.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from benchmarks.arithmetic import arithmetic
from benchmarks.gradients import bias
from benchmarks.gradients import table as gradients
from benchmarks.setting import Setting
from benchmarks.stored import fill_page, read
from ppl_vae.diagnostics.gap.gap import OVERFITTED
from ppl_vae.plugins.options import Option
from ppl_vae.programs.loading import Definition, available
from ppl_vae.runs.catalogue import catalogue
from ppl_vae.runs.report.finding import MEANINGS
from website import concepts, reports
from website.markdown import table, to_markdown

__all__ = ["pages"]

DOCS = Path(__file__).parents[1] / "docs"

MADE = "<!-- This page is made from docstrings by python -m website.tables: change those. -->\n"

FIGURES = {
    "gan_gaussian": ("gan-generator.png", "gan.md"),
    "gmm": ("gmm.png", "gmm.md"),
    "image": ("image-sheet.png", "images.md"),
    "image_binary": ("rates-regimes.png", "rates.md"),
    "manifold": ("sharpness-panels.png", "sharpness.md"),
    "ppca": ("ppca.png", "ppca.md"),
    "rbm": ("rbm.png", "boltzmann.md"),
    "sphere": ("sphere-radii.png", "sphere.md"),
    "text": ("table-2.png", "newsgroups.md"),
    "text_rbm": ("tight-text.png", "boltzmann.md"),
    "toy_channel": ("toy-channel.png", "rates.md"),
}
"""A figure of each model, and the page that explains it."""

EXAMPLE = {"run": "RUN", "families": "mean_field,tree,mixture,full"}


def pages() -> dict[str, str]:
    """The content of each page that is made, or that has a table that is, by its name in ``docs``."""
    tables = {
        "concepts.md": {"pair": concepts.table()},
        "reading-a-gap.md": {"verdicts": verdicts(), "splits": splits()},
        "choosing-a-guide.md": {"guides": which_guides()},
        "estimators.md": {
            "gradients": gradients.markdown(read("gradients")["rows"]),
            "bias": bias.markdown(read("bias")["rows"]),
        },
        "training.md": {"defaults": defaults()},
        "remedies.md": {f"remedies of {model}": remedies(model) for model in ("text", "gmm", "rbm")},
        "newsgroups.md": {"refined": refined()},
        "speed.md": {"arithmetic": products()},
    }
    filled = {}
    for page, parts in (tables | reports.fill()).items():
        filled[page] = (DOCS / page).read_text(encoding="utf-8")
        for marker, part in parts.items():
            filled[page] = fill_page(filled[page], marker, part)
    return filled | {"models.md": models(), "guides.md": guides()}


def verdicts() -> str:
    """What the report may find, and what to do about it: the list that the report itself takes."""
    rows = [
        (
            f"**{verdict}**",
            meaning.where,
            meaning.consequence,
            " ".join(
                filter(None, [meaning.remedy, f"`{meaning.command.format(**EXAMPLE)}`" if meaning.command else ""])
            ),
        )
        for verdict, meaning in MEANINGS.items()
    ]
    return table("verdict|when|what it means|what to do next", rows)


def splits() -> str:
    """What the gaps of two splits say of the guide's network."""
    overfits = "the guide's network overfits: more data, or a smaller network"
    short = "the network or the family falls short on any data: split the gap"
    good = "the guide is good; what is lost between the splits is the model's"
    rows = [(f"at most {OVERFITTED:.0%} of the other", "wide", overfits), ("as wide", "wide", short)]
    return table("gap of the training data|gap of the test data|what it means", [*rows, ("narrow", "narrow", good)])


def defaults() -> str:
    """Test ELBOs of the default settings beside a plain VAE and a model without latents, the range of the seeds."""
    rows = []
    for row in read("defaults")["rows"]:
        ranges = (f"{min(row[who]):.2f} to {max(row[who]):.2f}" for who in ("plain", "defaults"))
        rows.append((row["data"], str(row["epochs"]), f"{row['baseline']:.2f}", *ranges))
    return table("data|epochs|baseline|plain PyTorch|defaults", rows)


def remedies(model: str) -> str:
    """What remedies bought for a pair."""
    rows, digits = [], 2 if model == "text" else 3
    for row in (row for row in read("remedies")["rows"] if row["model"] == model):
        gains = (
            f"{row[f'gain{of}']:+.{digits}f} ± {row[f'gain_se{of}']:.{digits}f}" if f"gain{of}" in row else ""
            for of in ("", "_over_all")
        )
        parts = (f"{row[name]:.{digits}f}" for name in ("network", "family"))
        numbers = (f"{row['elbo']:.{digits}f}", *gains, *parts)
        rows.append((row["split"], row["guide"], *numbers, f"{row['seconds']:.0f}" if "seconds" in row else ""))
    return table("data|guide|ELBO|gain|gain of all|network's part|family's part|seconds", rows)


def refined() -> str:
    """Codes of 64 bits for 20 Newsgroups before and after their guides are refined for each document."""
    rows = []
    for row in read("refined")["rows"]:
        numbers = (f"{row[key]:.2f}" for key in ("elbo", "refined_elbo"))
        bounds = (f">= {row[key]:.2f}" for key in ("evidence", "refined_evidence"))
        deviances = (f"{row[key]:.1f}" for key in ("deviance", "refined_deviance"))
        rows.append((f"`{row['guide']}`", *numbers, *bounds, *deviances))
    return table("guide|ELBO|refined|evidence|refined|deviance|refined", rows)


def products() -> str:
    """Operations of the products of a step, by codes of a pair evaluated and differentiated."""
    entries = 83 * 256  # distinct words of a batch of the synthetic documents
    ways = {"both, both: ARM": (2, 2), "both, one: DisARM": (2, 1), "one, one: REINFORCE": (1, 1)}
    rows = []
    for setting in (Setting(), Setting(draws=10), Setting(0, 2), Setting(2), Setting(2, draws=10), Setting(2, 2)):
        works = (arithmetic(setting, 10_000, entries, evaluated=e, differentiated=d) for e, d in ways.values())
        rows.append((str(setting), *(f"{work.flops / 1e9:.3g}" for work in works)))
    return table("|".join(["", *ways]), rows)


def models() -> str:
    """The page of all models."""
    head = (
        "# Models\n\nA model is taken by its name, `ppl-vae train gmm`, or copied from its file and changed: "
        "[a model of your own](own-pair.md). Options are those of `ppl-vae train MODEL --help`.\n"
    )
    partners = {name: goes for name, _, goes in next(iter(catalogue("models").sections.values()))}
    parts = [MADE, head]
    for definition in _shipped("models"):
        figure, page = FIGURES[definition.name]
        parts += [_described(definition), f"Guides: {_names(partners[definition.name])}.\n"]
        parts += [_options(definition.options(), "--"), f"[![{definition.name}](figures/{figure})]({page})\n"]
    return "\n".join(filter(None, parts))


def guides() -> str:
    """The page of all guides."""
    head = (
        "# Guides\n\nA guide is taken by its name, `--guide tree`. [Which to take](choosing-a-guide.md) says what "
        "each is for; [a guide of your own](own-pair.md#the-guide) is one class.\n"
    )
    parts = [MADE, head]
    for definition in _shipped("guides"):
        parts += [_described(definition), _options(definition.options(), "--guide-")]
    return "\n".join(filter(None, parts))


def which_guides() -> str:
    """The guides with the models that they go with."""
    listed = next(iter(catalogue("guides").sections.values()))
    rows = [(f"[`{name}`](guides.md#{name})", line, _names(models)) for name, line, models in listed]
    return table("guide|what it is|models", rows)


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _shipped(kind: str) -> list[Definition]:
    found, _ = available(kind)  # type: ignore[arg-type]
    return [definition for definition in found if definition.shipped]


def _described(definition: Definition) -> str:
    text = inspect.getdoc(definition.target) or ""
    return f"## {definition.name}\n\n{to_markdown(text.split('Arguments:')[0])}\n"


def _options(options: list[Option], prefix: str) -> str:
    rows = [
        (
            f"`{prefix}{o.name.replace('_', '-')}`",
            "" if o.default in ("", None) else f"`{o.default}`",
            to_markdown(o.help),
        )
        for o in options
    ]
    return table("option|default|", rows) + "\n" if rows else ""


if __name__ == "__main__":
    concepts.draw()
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
