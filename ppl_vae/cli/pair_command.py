"""The command that takes the options of the model and the guide it is given."""

from __future__ import annotations

import contextlib
import sys

import click

from ppl_vae.cli.errors import errors_in_one_line
from ppl_vae.cli.options import GroupedCommand, click_option
from ppl_vae.programs.loading import find, find_pair
from ppl_vae.runs.options import training_options
from ppl_vae.training.process import prepare

__all__ = ["PairCommand"]


class PairCommand(GroupedCommand):
    """A command with the options of a training, among them the constructor arguments of its model and guide."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with errors_in_one_line():
            prepare()
            model, guide = _named_pair(args)
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    if model:
                        groups = training_options(*find_pair(model, guide))
                    else:
                        groups = training_options(None, find("guides", guide) if guide else None)
            except ValueError as error:
                raise click.UsageError(str(error), ctx) from error
            ctx.meta[PairCommand.__name__] = [
                click_option(option, title, takes_value=title.startswith(("Model ", "Guide ")))
                for title, group in groups.items()
                for option in group
            ]
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *fixed, help_option = super().get_params(ctx)
        return [*fixed, *ctx.meta.get(PairCommand.__name__, []), help_option]


def _named_pair(args: list[str]) -> tuple[str | None, str | None]:
    """The model and guide named among arguments that may still hold options of theirs."""
    options = [click_option(option) for group in training_options().values() for option in group]
    switches = {flag for option in options if option.is_flag for flag in option.opts + option.secondary_opts}
    switches |= {"--json", "--trust", "--help", "-h"}
    model, guide, skip = None, None, False
    for index, arg in enumerate(args):
        if skip:
            skip = False
        elif arg == "--guide" and index + 1 < len(args):
            guide, skip = args[index + 1], True
        elif arg.startswith("--guide="):
            guide = arg.partition("=")[2]
        elif arg.startswith("-"):
            skip = "=" not in arg and arg not in switches  # all options of models and guides take a value
        elif model is None:
            model = arg
    return model, guide
