"""The command line: ``ppl-vae train`` and ``ppl-vae list``."""

from __future__ import annotations

import ppl_vae.threads  # noqa: F401

# isort: split
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
import pyro
import torch

from ppl_vae import __version__
from ppl_vae.corpora import CORPORA
from ppl_vae.estimators import ESTIMATORS
from ppl_vae.pairs import Definition, available, find
from ppl_vae.progress import say
from ppl_vae.runs import Run
from ppl_vae.training import Interrupted

__all__ = ["main"]


_terminated: list[int] = []


def _terminate(number: int, frame: object) -> None:
    """Schedulers send SIGTERM before they kill: it ends a run as ctrl-C does."""
    _terminated.append(number)
    raise KeyboardInterrupt


class Refused(click.ClickException):
    """An error the user can mend, in one line."""


@contextmanager
def words_for_errors() -> Iterator[None]:
    """Turns what goes wrong into a line; ``PPL_VAE_DEBUG=1`` shows the traceback too."""
    try:
        yield
    except (click.exceptions.Exit, click.ClickException, click.Abort):
        raise
    except KeyboardInterrupt as error:
        if isinstance(error, Interrupted):
            say(
                f"stopped: the last whole epoch and the best state are saved; go on with ppl-vae train --resume {error}"
            )
        else:
            say("stopped")
        sys.exit(143 if _terminated else 130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        if os.environ.get("PPL_VAE_DEBUG"):
            traceback.print_exc()
        expected = isinstance(error, (ValueError, ArithmeticError))
        text = str(error) if expected else f"{type(error).__name__}: {error}{_where(error)}"
        raise Refused(text or type(error).__name__) from error


def _where(error: BaseException) -> str:
    """The line of a user's own model or guide an unforeseen error came from, else how to see more."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    own = [f for f in frames if not f.filename.startswith(str(Path(__file__).parent))]
    own = [f for f in own if Path(f.filename).suffix == ".py"]
    place = f" (at {own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{place}; PPL_VAE_DEBUG=1 shows the traceback"


class Group(click.Group):
    """A group under which no command ends in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with words_for_errors():
            return super().invoke(ctx)


class PairCommand(click.Command):
    """A command whose further options are the constructor arguments of the model and the guide it is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with words_for_errors():
            model, guide = _peek(self, args)
            extra = ctx.meta.setdefault(PairCommand.__name__, [])
            chosen = [("models", model, "")] if model else []
            chosen += [("guides", guide or "mean_field", "guide-")] if model or guide else []
            for kind, name, prefix in chosen:
                try:
                    with contextlib.redirect_stdout(sys.stderr):
                        definition = find(kind, name)  # type: ignore[arg-type]
                except ValueError as error:
                    raise click.UsageError(str(error), ctx) from error
                extra += _options(definition, prefix, self.get_params(ctx))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *own, help_option = super().get_params(ctx)
        return [*own, *ctx.meta.get(PairCommand.__name__, []), help_option]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _peek(command: click.Command, args: list[str]) -> tuple[str | None, str | None]:
    """The model and guide named among arguments that may still hold options not yet known."""
    takes_value = {name for p in command.params if isinstance(p, click.Option) and not p.is_flag for name in p.opts}
    model, guide, skip = None, None, False
    for index, arg in enumerate(args):
        if skip:
            skip = False
        elif arg == "--guide" and index + 1 < len(args):
            guide, skip = args[index + 1], True
        elif arg.startswith("--guide="):
            guide = arg.partition("=")[2]
        elif arg.startswith("-"):
            # An option of the model is unknown here; all of them take a value.
            known = arg in {name for p in command.params for name in p.opts + p.secondary_opts}
            skip = "=" not in arg and (arg in takes_value or (not known and arg not in ("--help", "-h")))
        elif model is None:
            model = arg
    return model, guide


def _options(definition: Definition, prefix: str, taken: list[click.Parameter]) -> list[click.Parameter]:
    known = {name for param in taken for name in param.opts}
    found: list[click.Parameter] = []
    for option in definition.options():
        flag = f"--{prefix}{option.name.replace('_', '-')}"
        if flag in known:
            raise ValueError(f"{definition.file}: argument {option.name!r} clashes with the option {flag}; rename it")
        kind = click.Choice([str(c) for c in option.type]) if isinstance(option.type, tuple) else option.type
        made = click.Option(
            [flag, f"{definition.kind}__{option.name}"],
            type=kind,
            default=option.default,
            required=option.default is None,
            show_default=True,
            help=option.help,
        )
        made.group = f"Options of {definition.kind[:-1]} {definition.name}"  # type: ignore[attr-defined]
        found.append(made)
    return found


def with_json(function: Callable[..., Any]) -> Callable[..., None]:
    """Adds ``--json``: the result as one JSON document on the output stream; else its table."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Print the result as one JSON document, and nothing else, on stdout."
    )
    @wraps(function)
    def command(*args: Any, as_json: bool, **kwargs: Any) -> None:
        with contextlib.redirect_stdout(sys.stderr):  # what users' own files print must not mix with the result
            result = function(*args, **kwargs)
        click.echo(json.dumps(result.to_json(), indent=2, allow_nan=False) if as_json else str(result))

    return command


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ppl-vae")
def main() -> None:
    """Train variational autoencoders written in Pyro, and measure what their bounds hide.

    Begin with:  ppl-vae train models/text.py --guide linear_counts
    """
    # Must precede the first parallel operation: worker threads inherit it. Adam's moments of dead units decay into
    # denormal numbers, on which a step takes up to a hundred times as long.
    torch.set_flush_denormal(True)
    pyro.settings.set(module_local_params=True)
    with contextlib.suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGTERM, _terminate)


def _device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    _check_device(value)
    return value


def _check_device(value: str) -> None:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(value, False):
        raise click.UsageError(f"this machine, or this build of torch, has no {value}; use --device cpu")


@main.command(cls=PairCommand)
@click.argument("model", required=False)
@click.option("--guide", help="Name or file of the guide (ppl-vae list shows them).  [default: mean_field]")
@click.option("--corpus", default="docstrings", show_default=True, help="Named corpus, or path of your own documents.")
@click.option("--vocabulary", default=10_000, show_default=True, help="Words kept: those in most training documents.")
@click.option(
    "--validation", default=0.1, show_default=True, help="Share of training documents held out to choose the epoch."
)
@click.option("--epochs", default="60", show_default=True, help="Epochs, or phases EPOCHSxDRAWS such as 1000x1,500x10.")
@click.option(
    "--draws",
    default=1,
    type=click.IntRange(min=1),
    show_default=True,
    help="Draws a datum and step (pairs, for antithetic estimators).",
)
@click.option(
    "--patience",
    default=10,
    show_default=True,
    help="Stop after so many epochs without a better validation ELBO; 0 never.",
)
@click.option(
    "--retrain", is_flag=True, help="Then train afresh on training and validation data for the epochs validation chose."
)
@click.option(
    "--estimator",
    default="disarm",
    show_default=True,
    type=click.Choice(list(ESTIMATORS)),
    help="Of the gradient through discrete latents.",
)
@click.option(
    "--control",
    type=click.Choice(["first_order", "none"]),
    help="Control variate.  [default: first_order, none for enumerate]",
)
@click.option("--optimizer", default="Adam", show_default=True, help="Any class of torch.optim.")
@click.option("--learning-rate", default=1e-3, show_default=True, help="Of the optimizer.")
@click.option("--weight-decay", default=0.0, show_default=True, help="Of the optimizer.")
@click.option("--batch-size", default=256, show_default=True, help="Data a step.")
@click.option("--clip", default=0.0, show_default=True, help="Largest gradient norm; 0 for no limit.")
@click.option("--seed", default=0, show_default=True, help="Of parameters, order of data, and draws.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    callback=_device,
    help="Where to compute.",
)
@click.option(
    "--evidence-draws",
    default=100,
    type=click.IntRange(min=2),
    show_default=True,
    help="Draws a datum for the final evidence where it is not exact.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/MODEL-GUIDE-TIME]")
@click.option(
    "--resume", type=click.Path(path_type=Path), help="Go on with a run that was interrupted; takes no other option."
)
@with_json
@click.pass_context
def train(
    ctx: click.Context, /, model: str | None, guide: str | None, out: Path | None, resume: Path | None, **options: Any
) -> Any:
    """Train MODEL with a guide, choose the epoch on validation data, and measure ELBO, evidence and gap.

    MODEL is a file or the name of a model, such as models/text.py. Its constructor's arguments, and the guide's
    with --guide- before them, are options: add --help after naming both.
    """
    from ppl_vae.training import Settings, parse_schedule
    from ppl_vae.workflow import train as run_training

    if resume is not None:
        given = [p for p in ctx.command.get_params(ctx) if _given(ctx, p) and p.name not in ("resume", "as_json")]
        named = [p.opts[0] for p in given]
        if named:
            raise click.UsageError(f"--resume takes up a run as it was begun; leave out {', '.join(named)}", ctx)
        begun = Run.open(resume).config
        _check_device(begun.get("device", "cpu"))
        return run_training(begun, resume, resume=True)
    if model is None:
        raise click.UsageError("name a model, such as models/text.py (ppl-vae list shows them), or --resume RUN", ctx)
    guide = guide or "mean_field"
    found = {kind: find(kind, name) for kind, name in (("models", model), ("guides", guide))}  # type: ignore[arg-type]
    settings = {
        "schedule": parse_schedule(options["epochs"], options["draws"]),
        **{
            k: options[k]
            for k in ("batch_size", "optimizer", "learning_rate", "weight_decay", "clip", "patience", "seed")
        },
    }
    Settings(**settings)
    config: dict[str, Any] = {
        definition.kind[:-1]: {
            "name": definition.name if definition.shipped else str(definition.file.resolve()),
            "sha256": definition.sha256,
            "options": {k.partition("__")[2]: v for k, v in options.items() if k.startswith(f"{definition.kind}__")},
        }
        for definition in found.values()
    }
    config |= {
        "corpus": {
            "name": _absolute(options["corpus"]),
            "vocabulary": options["vocabulary"],
            "validation": options["validation"],
            "seed": options["seed"],
        },
        "settings": settings,
        "estimator": options["estimator"],
        "control": {None: None, "first_order": True, "none": False}[options["control"]],
        **{k: options[k] for k in ("device", "evidence_draws", "retrain")},
    }
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = out or Path("runs") / f"{found['models'].name}-{found['guides'].name}-{stamp}"
    Run.check_free(folder)
    return run_training(config, folder)


def _given(ctx: click.Context, param: click.Parameter) -> bool:
    return ctx.get_parameter_source(param.name or "") == click.core.ParameterSource.COMMANDLINE


def _absolute(corpus: str) -> str:
    """Paths are kept whole, so that a run can be taken up from any folder."""
    return corpus if corpus in CORPORA or not Path(corpus).exists() else str(Path(corpus).resolve())


@main.command("list")
@with_json
def list_command() -> Any:
    """Show models, guides, estimators and corpora, and which go together."""
    from ppl_vae.catalogue import Catalogue

    (models, no_models), (guides, no_guides) = available("models"), available("guides")
    return Catalogue.take(models, guides, no_models | no_guides)
