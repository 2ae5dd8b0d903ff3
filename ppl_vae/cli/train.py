"""``ppl-vae train``: its options, and the configuration they make."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.devices import check_device, device_option
from ppl_vae.cli.measure import with_json
from ppl_vae.cli.pair_command import PairCommand
from ppl_vae.cli.plugin_name import PluginName
from ppl_vae.data import corpora
from ppl_vae.data.counts import PackedCounts
from ppl_vae.programs.loading import find
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import Run

__all__ = ["Switch", "begun", "configuration", "flags", "new_folder", "train", "whole_corpus"]

Switch = Callable[[Any], list[str]]
"""From whether an option is on to what the command line says for it."""

RATE_COST = ("beta", "anneal", "free_bits", "rate", "lagrangian")
"""Options that say what a nat of rate costs."""


@click.command(cls=PairCommand)
@click.argument("model", required=False)
@click.option("--guide", help="Name or file of the guide (ppl-vae list shows them).  [default: mean_field]")
@click.option(
    "--corpus",
    help="Named corpus, or path of your own data (ppl-vae list shows both).  [default: what the model names; else "
    "docstrings for models of documents, gaussians for models of tensors]",
)
@click.option(
    "--vocabulary", default=10_000, show_default=True, help="Words kept of documents: those in most training documents."
)
@click.option(
    "--dequantise",
    is_flag=True,
    help="Of images, bytes over 255: add noise of a byte's width, so that densities bound codes.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=0),
    default=0,
    help="Side that a folder's images are cut and brought to, and MNIST's and those of IDX files by a margin.",
)
@click.option(
    "--validation", default=0.1, show_default=True, help="Share of training data held out to choose the epoch."
)
@click.option("--epochs", default="60", show_default=True, help="Epochs, or phases EPOCHSxDRAWS such as 1000x1,500x10.")
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    help="Draws a datum and step (pairs, for antithetic estimators).  [default: 1; 16 for the likelihood]",
)
@click.option(
    "--patience",
    default=10,
    show_default=True,
    help="Stop after so many epochs without a better validation score; 0 never.",
)
@click.option(
    "--retrain", is_flag=True, help="Then train afresh on training and validation data for the epochs validation chose."
)
@click.option(
    "--objective",
    default="elbo",
    show_default=True,
    type=click.Choice(["elbo", "likelihood", "sleep"]),
    help="What to maximise; the likelihood is exact up to 10 bits, importance-weighted beyond; sleep is the guide's "
    "log-density of latents, on data that the model draws with them: only the guide learns.",
)
@click.option(
    "--start",
    type=click.Path(path_type=Path),
    help="Begin with model and guide as this run left them: the same pair, perhaps with another noise or objective.",
)
@click.option(
    "--beta",
    default=1.0,
    show_default=True,
    help="Weight of the rate beside the distortion, or of its distance from --rate; 1 is the ELBO.",
)
@click.option(
    "--anneal",
    default="none",
    show_default=True,
    metavar="none|linear:EPOCHS|cyclic:EPOCHS",
    help="How that weight rises from 0: once, or in the first half of every cycle.",
)
@click.option(
    "--free-bits", default=0.0, show_default=True, help="Nats of rate that each latent site may have for nothing."
)
@click.option("--rate", type=float, help="Aim at this rate, in nats per datum: minimise D + beta |R - RATE|.")
@click.option(
    "--lagrangian", is_flag=True, help="With --rate: the least distortion at that rate, the weight found in training."
)
@click.option(
    "--estimator",
    default="auto",
    show_default=True,
    type=PluginName("estimators", ("auto",)),
    help="Gradient estimator through discrete latents, by name or file; auto chooses by the pair.",
)
@click.option(
    "--control",
    type=click.Choice(["first_order", "none"]),
    help="Control variate.  [default: first_order for those that take it]",
)
@click.option("--optimizer", default="Adam", show_default=True, help="Any class of torch.optim.")
@click.option("--learning-rate", default=1e-3, show_default=True, help="Of the optimizer.")
@click.option(
    "--decay",
    default="none",
    show_default=True,
    type=click.Choice(["none", "linear", "cosine"]),
    help="How the learning rate falls, towards zero at the end of --epochs.",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bf16"]),
    help="Of matrix products in training; bf16 pays for hidden layers, where the processor has it.",
)
@click.option(
    "--capture/--no-capture",
    default=False,
    show_default=True,
    help="On CUDA, record a step once and replay it as a graph (tested on the CPU alone so far).",
)
@click.option("--weight-decay", default=0.0, show_default=True, help="Of the optimizer.")
@click.option("--batch-size", default=256, show_default=True, help="Data a step.")
@click.option("--clip", default=0.0, show_default=True, help="Largest gradient norm; 0 for no limit.")
@click.option("--seed", default=0, show_default=True, help="Of parameters, order of data, and draws.")
@device_option
@click.option(
    "--evidence-draws",
    default=100,
    type=click.IntRange(min=2),
    show_default=True,
    help="Draws a datum for the final evidence where it is not exact.",
)
@click.option(
    "--evidence-data",
    default=0,
    type=click.IntRange(min=0),
    help="Data of each split that the final table is measured on, drawn at random; 0 for all.  [default: 0]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/MODEL-GUIDE-TIME]")
@click.option(
    "--resume", type=click.Path(path_type=Path), help="Go on with a run that was interrupted; takes no other option."
)
@with_json
@click.pass_context
def train(
    ctx: click.Context,
    /,
    model: str | None,
    guide: str | None,
    out: Path | None,
    resume: Path | None,
    **options: Any,
) -> Any:
    """Train MODEL with a guide, choose the epoch on validation data, and measure ELBO, evidence and gap.

    MODEL is a file or the name of a model, such as models/text.py. Its constructor's arguments, and the guide's
    with --guide- before them, are options: add --help after naming both.
    """
    from ppl_vae.runs.train import train as run_training

    if resume is not None:
        config = begun(ctx, resume)
        Run(resume).check_pair(f"go on with it by ppl-vae generator --resume {resume}")
        return run_training(config, resume, resume=True)
    config = _configuration(ctx, model, guide, options)
    folder = new_folder(out, "-".join(Path(config[kind]["name"]).stem for kind in ("model", "guide")))
    return run_training(config, folder)


def configuration(args: Sequence[str]) -> dict[str, Any]:
    """What ``ppl-vae train`` with these arguments would train, as :func:`ppl_vae.runs.train.train` takes it.

    Raises:
        ValueError: In the words of the command line.
    """
    try:
        with train.make_context("train", list(args)) as ctx:
            given = dict(ctx.params)
            model, guide, _, _ = (given.pop(name) for name in ("model", "guide", "out", "resume"))
            return _configuration(ctx, model, guide, given)
    except click.ClickException as error:
        raise ValueError(error.format_message()) from error


def flags() -> dict[str, Switch]:
    """The options of ``ppl-vae train`` that take no value, and what the command line says for whether they are on."""

    def arguments(option: click.Option, value: Any) -> list[str]:
        if not isinstance(value, bool):
            raise ValueError(f"{option.opts[0]} is true or false, got {value!r}")
        return option.opts[:1] if value else option.secondary_opts[:1]

    switches = [p for p in train.params if isinstance(p, click.Option) and p.is_flag]
    return {switch.opts[0].removeprefix("--"): partial(arguments, switch) for switch in switches}


def _configuration(ctx: click.Context, model: str | None, guide: str | None, options: dict[str, Any]) -> dict[str, Any]:
    from ppl_vae.objectives.rate_cost import RateCost
    from ppl_vae.training.settings import Settings, parse_schedule

    if model is None:
        raise click.UsageError("name a model, such as models/text.py (ppl-vae list shows them), or --resume RUN", ctx)
    guide = guide or "mean_field"
    found = {kind: find(kind, name) for kind, name in (("models", model), ("guides", guide))}  # type: ignore[arg-type]
    corpus = options["corpus"] or found["models"].corpus
    found["models"].check_corpus(corpus)
    documents = found["models"].data is PackedCounts
    if not documents and was_given(ctx, "vocabulary"):
        log(f"note: --vocabulary belongs to documents: {corpus} holds tensors, which have no words")
    likelihood, bound = options["objective"] == "likelihood", options["objective"] == "elbo"
    cost = RateCost(**{name: options[name] for name in RATE_COST})
    weighing = [f"--{name.replace('_', '-')}" for name in RATE_COST if was_given(ctx, name)]
    if weighing and not bound:
        what = "the likelihood" if likelihood else "the sleep phase"
        raise click.UsageError(
            f"{', '.join(weighing)} weigh{'s' if len(weighing) == 1 else ''} the rate, and {what} has none; leave out "
            f"--objective {options['objective']}",
            ctx,
        )
    idle = [f"--{name}" for name in ("estimator", "control") if not bound and was_given(ctx, name)]
    if idle:
        own = "the likelihood has a gradient estimator of its own" if likelihood else "the sleep phase needs none"
        log(f"note: {' and '.join(idle)} belong{'s' if len(idle) == 1 else ''} to the ELBO: {own}")
    settings = {
        "schedule": parse_schedule(options["epochs"], options["draws"] or (16 if likelihood else 1)),
        **{
            k: options[k]
            for k in (
                "batch_size",
                "optimizer",
                "learning_rate",
                "decay",
                "weight_decay",
                "clip",
                "patience",
                "seed",
                "precision",
                "capture",
            )
        },
    }
    Settings(**settings)
    config: dict[str, Any] = {
        definition.kind[:-1]: {
            "name": definition.name if definition.shipped else str(definition.file.resolve()),
            "sha256": definition.sha256,
            "options": {
                k.partition("__")[2]: _whole(v) for k, v in options.items() if k.startswith(f"{definition.kind}__")
            },
        }
        for definition in found.values()
    }
    config |= {
        "corpus": {
            "name": whole_corpus(corpus),
            **({"vocabulary": options["vocabulary"]} if documents else {}),
            "validation": options["validation"],
            "seed": options["seed"],
            **({"dequantise": True} if options["dequantise"] else {}),
            **({"image_size": options["image_size"]} if options["image_size"] else {}),
        },
        "settings": settings,
        "objective": options["objective"],
        "rate_cost": cost.to_json(),
        "estimator": options["estimator"],
        "control": {None: None, "first_order": True, "none": False}[options["control"]],
        **{k: options[k] for k in ("device", "evidence_draws", "evidence_data", "retrain")},
    }
    if options["start"] is not None:
        start = Run.open(options["start"])
        start.check_pair(f"begin with it by --generator {start.folder / 'generator.safetensors'} instead of --start")
        config["start"] = str(start.folder.resolve())
    return config


def new_folder(out: Path | None, what: str) -> Path:
    """The folder of a new run: the one asked for, or one below ``runs`` named after what is trained and the time.

    Raises:
        ValueError: If it holds a run already.
    """
    if out is None:
        name = f"runs/{what}-{time.strftime('%Y%m%d-%H%M%S')}"
        # Of two trainings begun in one second the later has a number behind its name.
        names = chain([name], (f"{name}-{number}" for number in count(2)))
        return next(path for path in map(Path, names) if not path.exists())
    Run.check_free(out)
    return out


def begun(ctx: click.Context, resume: Path) -> dict[str, Any]:
    """The configuration of a run that ``--resume`` names, once it is known that it stands alone and its device is here.

    Raises:
        click.UsageError: Naming other options beside it, or the device.
        ValueError: If the folder is no run.
    """
    others = [p for p in ctx.command.get_params(ctx) if p.name not in ("resume", "as_json")]
    named = [p.opts[0] for p in others if was_given(ctx, p.name)]
    if named:
        raise click.UsageError(f"--resume takes up a run as it was begun; leave out {', '.join(named)}", ctx)
    config = Run.open(resume).config
    check_device(config.get("device", "cpu"))
    return config


def was_given(ctx: click.Context, name: str | None) -> bool:
    """Whether the user named an option."""
    return ctx.get_parameter_source(name or "") == click.core.ParameterSource.COMMANDLINE


def whole_corpus(corpus: str) -> str:
    """Paths are kept whole, so that a run can be taken up from any folder."""
    return corpus if corpus in corpora() or not Path(corpus).exists() else str(Path(corpus).resolve())


def _whole(value: Any) -> Any:
    """The same of what another run left: its tensors, or the course of its noise."""
    if isinstance(value, str) and value.endswith(".safetensors"):
        return str(Path(value).resolve())
    kind, colon, where = value.partition(":") if isinstance(value, str) else (value, "", "")
    return f"{kind}:{Path(where).resolve()}" if colon and kind == "schedule" else value
