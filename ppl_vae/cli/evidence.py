"""``ppl-vae evidence`` and ``ppl-vae gap``, with the options of the evidence methods."""

from __future__ import annotations

import click

from ppl_vae.cli.errors import errors_in_one_line
from ppl_vae.cli.measure import measuring
from ppl_vae.cli.options import GroupedCommand, click_option
from ppl_vae.plugins.discovery import available

__all__ = ["evidence", "gap"]


class EvidenceCommand(GroupedCommand):
    """A command with the options of the evidence methods, whose help ends with the methods, each with its summary."""

    flag = "--method"
    """The option that names a method."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from ppl_vae.evidence.plan import method_options

        after = [args[i + 1] for i, arg in enumerate(args[:-1]) if arg == self.flag]
        after += [arg.partition("=")[2] for arg in args if arg.startswith(f"{self.flag}=")]
        with errors_in_one_line():
            try:
                groups = method_options(after[-1] if after else "auto")
            except ValueError as error:
                raise click.UsageError(str(error), ctx) from error
        options = [click_option(option, title) for title, group in groups.items() for option in group]
        ctx.meta[EvidenceCommand.__name__] = options
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *fixed, help_option = super().get_params(ctx)
        return [*fixed, *ctx.meta.get(EvidenceCommand.__name__, []), help_option]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Evidence methods"):
            formatter.write_dl([(name, method.summary) for name, method in available("evidence").items()])
        super().format_epilog(ctx, formatter)


class GapCommand(EvidenceCommand):
    """A command that has methods of its own beside those of the evidence."""

    flag = "--evidence"


evidence = measuring("evidence", cls=EvidenceCommand)
gap = measuring("gap", cls=GapCommand)
