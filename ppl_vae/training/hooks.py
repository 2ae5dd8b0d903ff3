"""What modules of a model or guide may do beside the loss: change as training goes on, and record values."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["FollowsEpochs", "RecordsMetrics"]


@runtime_checkable
class FollowsEpochs(Protocol):
    """A module that depends on how far training has come, such as noise on a schedule."""

    def set_epoch(self, epoch: float) -> None:
        """Called before each step with the number of epochs trained, whole or not."""


@runtime_checkable
class RecordsMetrics(Protocol):
    """A module with values that are recorded beside the bound, before the first epoch and after each one."""

    def metrics(self) -> dict[str, float]:
        """Values by name."""
