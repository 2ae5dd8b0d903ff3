"""``ppl-vae train``."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from ppl_vae.cli.completion import RunPath, names_of
from ppl_vae.cli.opening import asked, code_option, trust_option
from ppl_vae.cli.options import NearChoice, Several, was_given
from ppl_vae.cli.output import with_json
from ppl_vae.cli.pair_command import PairCommand
from ppl_vae.plugins.options import Value
from ppl_vae.runs.code import Code, Opening, opening
from ppl_vae.runs.options import new_folder, run_config
from ppl_vae.runs.summary import Summary
from ppl_vae.training.logging import LoggerName, logged_to

__all__ = ["check_alone", "train"]


@click.command(cls=PairCommand)
@click.argument("model", required=False, shell_complete=names_of("models"))
@click.option(
    "--guide",
    shell_complete=names_of("guides"),
    help="Name or file of the guide (ppl-vae list shows them).  [default: that of the model's file, else mean_field]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/MODEL-GUIDE-TIME]")
@click.option(
    "--resume",
    type=RunPath(),
    help="Continue a run that was interrupted, or give it more --epochs; takes --corpus, where the data lie now, too.",
)
@click.option(
    "--loggers",
    type=Several(NearChoice(get_args(LoggerName))),
    metavar="LOGGER,...",
    default="",
    help="Also write the metrics of each epoch into the run folder, as csv or tensorboard or both.",
)
@code_option
@trust_option
@with_json
@click.pass_context
def train(
    ctx: click.Context,
    /,
    model: str | None,
    guide: str | None,
    out: Path | None,
    resume: Path | None,
    loggers: tuple[str, ...],
    code: Code,
    trust: bool,
    **options: Value,
) -> Summary:
    """Train a model with a guide; measure ELBO, evidence and gap.

    MODEL is a file or the name of a model, such as models/text.py. Its constructor's arguments, and the guide's
    with --guide- before them, are options: add --help after naming both. The epoch is chosen on validation data.
    """
    from ppl_vae.runs.train import resume as resume_training
    from ppl_vae.runs.train import train as run_training
    from ppl_vae.training.parallel import processes

    if resume is not None:
        schedule = ("epochs", "patience") if was_given(ctx, "epochs") else ()
        check_alone(ctx, "resume", *schedule, "corpus", "code", "trust", "loggers")
        epochs, corpus = (str(options[name]) if was_given(ctx, name) else None for name in ("epochs", "corpus"))
        patience = int(str(options["patience"])) if was_given(ctx, "patience") else None
        with opening(Opening(code, corpus, trust, asked)), logged_to(*loggers), processes(resume) as place:
            return resume_training(place, epochs, patience)
    if model is None:
        raise click.UsageError("name a model, such as models/text.py (ppl-vae list shows them), or --resume RUN", ctx)
    given = {name: value for name, value in options.items() if was_given(ctx, name)}
    try:
        config = run_config(model, guide, **given)  # type: ignore[arg-type]
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from error
    folder = new_folder(out, f"{Path(config.model.name).stem}-{Path(config.guide.name).stem}")
    with logged_to(*loggers), processes(folder) as place:
        return run_training(config, place)


def check_alone(ctx: click.Context, name: str, *besides: str) -> None:
    """Refuses other options beside ``--resume``, but for some.

    Raises:
        click.UsageError: Naming them.
    """
    others = [param for param in ctx.command.get_params(ctx) if param.name not in (name, "as_json", *besides)]
    if given := [param.opts[0] for param in others if was_given(ctx, param.name)]:
        raise click.UsageError(f"--{name} continues a run with its own options; leave out {', '.join(given)}", ctx)
