"""A command whose options are those of the model and the guide it is given."""

from __future__ import annotations

import contextlib
import re
import sys

import click

from ppl_vae.cli.errors import words_for_errors
from ppl_vae.programs.loading import Definition, find

__all__ = ["PairCommand"]


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
        kind = click.Choice(option.type) if isinstance(option.type, tuple) else option.type
        made = click.Option(
            [flag, f"{definition.kind}__{option.name}"],
            type=kind,
            default=option.default,
            required=option.required,
            show_default=True,
            help=re.sub(r'``"?|"?``', "", option.help),  # markup of docstrings
        )
        made.group = f"Options of {definition.kind[:-1]} {definition.name}"  # type: ignore[attr-defined]
        found.append(made)
    return found
