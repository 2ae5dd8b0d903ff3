"""The device a command computes on."""

from __future__ import annotations

import click
import torch

__all__ = ["check_device", "device_option"]


def check_device(name: str) -> None:
    """Refuses a device that is not there.

    Raises:
        click.UsageError: Naming it.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name, False):
        raise click.UsageError(f"this machine, or this build of torch, has no {name}; use --device cpu")


def _device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    check_device(value)
    return value


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    callback=_device,
    help="Where to compute.",
)
"""``--device``: the fastest there is, by default."""
