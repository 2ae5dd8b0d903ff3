"""The model card of a run: what was trained, what was measured and how it is made again, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ppl_vae.runs.command import train_command
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.summary import Summary
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder

__all__ = ["CARD", "model_card", "write_card"]

CARD = "README.md"
"""Name of its file in the run folder, which sites that hold models show."""


def model_card(summary: Summary, config: RunConfig, command: str) -> str:
    """The model card of a run (Mitchell et al. 2019), with the metadata that the Hugging Face hub reads above it.

    Arguments:
        summary: What the training ended with.
        config: The configuration.
        command: What trains the run again, in its folder; empty if no command does.
    """
    return "\n".join(line.rstrip() for line in _lines(summary, config, command)) + "\n"


def write_card(run: RunFolder, summary: Summary) -> None:
    """Writes the card into the folder of a run; a failure is a note, and no result is lost to it."""
    try:
        config = _without_places(RunConfig.of(run))
        run.write(CARD, model_card(summary, config, _command(run, config)).encode())
    except Exception as error:  # whatever an option of the user's makes of it
        log(f"note: the model card is not written ({type(error).__name__}: {error})")


def _without_places(config: RunConfig) -> RunConfig:
    """The configuration with names of files instead of their paths, which are those of one machine."""
    model, guide, corpus = config.model, config.guide, config.corpus
    return replace(
        config,
        model=replace(model, name=Path(model.name).name),
        guide=replace(guide, name=Path(guide.name).name),
        corpus=replace(corpus, name=Path(corpus.name).name),
    )


def _command(run: RunFolder, config: RunConfig) -> str:
    """What trains a run again in its folder, where copies of the user's files are."""
    command = train_command(config)
    for name in dict.fromkeys((config.model.name, config.guide.name)):
        file, colon, item = name.partition(":")
        copies = [copy.relative_to(run.folder).as_posix() for copy in run.folder.glob("code/*/*") if copy.name == file]
        if len(copies) == 1:
            command = re.sub(rf"(?<=[ (']){re.escape(name)}(?=[ ']|$)", f"{copies[0]}{colon}{item}", command)
    return command


def _lines(summary: Summary, config: RunConfig, command: str) -> Iterator[str]:
    yield from ("---", "library_name: ppl-vae", "tags: [pyro, variational-autoencoder]", "---", "")
    title, columns, rows = summary.cells()
    what = title.removeprefix(summary.pair).lstrip(": ")
    yield from (f"# {summary.pair}", "")
    yield "A generative model written in Pyro, with the guide that approximates its posterior, trained by ppl-vae."
    yield from ("", "## Training", "", "| | |", "|---|---|")
    data = config.corpus.name + (f" (SHA-256 {config.fingerprint[:16]})" if config.fingerprint else "")
    facts = {
        "model": config.model.name,
        "guide": config.guide.name,
        "data": data,
        "objective": summary.objective,
        "gradient": summary.estimator,
        "epochs": f"{summary.best_epoch} of {summary.epochs}",
        "seed": str(config.settings.seed),
        "versions": ", ".join(f"{name} {version}" for name, version in config.versions.items()),
    }
    yield from (_row((name, value)) for name, value in facts.items() if value)
    yield from ("", "## Measurements", "", f"{what[0].upper()}{what[1:]}.", "")
    yield from (_row(columns), _row(["---"] * len(columns)), *map(_row, rows))
    yield from ("", f"{'; '.join(summary.captions())}.")
    for remarks in (summary.brackets(), summary.warnings):
        if remarks:
            yield from ("", *(f"- {remark}" for remark in remarks))
    yield from (
        "",
        "Evidence is log p(x) of the model; the gap, evidence minus ELBO, is the divergence of the guide from the",
    )
    yield "posterior. These numbers are of these data alone: they do not say what the model is good for."
    if command:
        yield from ("", "## Train it again", "", f"    {command}", "")
        yield "In this folder; data of a file are not in it: give their path."
    yield from (
        "",
        "## Use it",
        "",
        "    import ppl_vae as pv",
        '    run = pv.load_run(".")  # the path of this folder',
    )
    yield "    run.model, run.guide, run.gap()"
    yield from ("", "Opening a run executes the copies of model and guide in `code/`: read them first.")


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
