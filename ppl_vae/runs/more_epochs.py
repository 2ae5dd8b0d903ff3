"""More epochs for a run, finished or not."""

from __future__ import annotations

from dataclasses import replace

from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.runs.config import RunConfig, to_json
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import parse_schedule

__all__ = ["give_more_epochs"]


def give_more_epochs(run: RunFolder, config: RunConfig, epochs: str, patience: int | None = None) -> RunConfig:
    """Writes a longer schedule into a run, whose final table is made anew when the training ends.

    With a constant learning rate the result is bit for bit that of a run with this schedule from the start.

    Arguments:
        run: The run.
        config: Its configuration.
        epochs: The whole schedule, epochs done included: ``"200"``, or ``"100x1,100x10"``.
        patience: The new patience; None keeps the run's.

    Returns:
        The configuration with that schedule.

    Raises:
        ValueError: If the schedule is no longer than what is done, or has other draws there; if the run was retrained.
    """
    schedule = parse_schedule(epochs, config.settings.schedule[-1][1])
    patience = config.settings.patience if patience is None else patience
    longer = replace(config.settings, schedule=schedule, patience=patience)
    path = run.checkpoint("train-last")
    state = Checkpoint.read(path).state if path.exists() else {"epoch": 0, "best_epoch": 0}
    done = int(state["epoch"])
    if longer.epochs <= done:
        raise ValueError(f"{run.folder} has done {done} epochs already; give more than {done} in all (--epochs)")
    if 0 < patience <= done - state["best_epoch"]:
        raise ValueError(
            f"{run.folder} ended because validation had not improved for {patience} epochs; give more patience, too "
            "(--patience 0 is no limit)"
        )
    if config.retrain and run.checkpoint("retrain-last").exists():
        raise ValueError(
            f"{run.folder} was retrained on training and validation data for the epochs that validation chose; start a "
            "new run with more epochs"
        )
    if other := next((e for e in range(1, done + 1) if longer.draws(e) != config.settings.draws(e)), None):
        raise ValueError(
            f"epoch {other} was trained with {config.settings.draws(other)} draws per datum, and {epochs!r} has "
            f"{longer.draws(other)}; begin the schedule with what is done"
        )
    if config.settings.decay != "none":
        log(
            f"note: the learning rate follows the {config.settings.decay} decay of {longer.epochs} epochs from now on; "
            "the epochs done had that of fewer"
        )
    config = replace(config, settings=longer)
    run.write_json("config.json", run.config | {"settings": to_json(longer)})
    run.watch()
    (run.folder / "summary.json").unlink(missing_ok=True)
    return config
