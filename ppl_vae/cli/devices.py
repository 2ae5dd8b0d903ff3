"""``--device``: by default the fastest device of this machine."""

from __future__ import annotations

import click

__all__ = ["device_option"]


def _device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from ppl_vae.runs.devices import resolve_device

    try:
        return resolve_device(value)
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from error


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    callback=_device,
    help="Device to compute on; auto is CUDA where available.",
)
