"""More epochs for a run, finished or not, and the configuration of a run that goes on otherwise than it began."""

from __future__ import annotations

from dataclasses import replace

from ppl_vae.runs.code import keep_code, own_code
from ppl_vae.runs.config import RunConfig, to_json
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.saving import SavedStates
from ppl_vae.training.settings import parse_schedule

__all__ = ["change_config", "with_more_epochs"]


def change_config(run: RunFolder, config: RunConfig) -> None:
    """Writes a longer schedule, or code that has changed, into a run that is locked and about to go on with them.

    Killed at any moment, this leaves a run that resumes to the right end: first the code is copied, beside that of the
    run; then the summary goes, without which the run counts as unfinished; last the configuration is written.

    Arguments:
        run: The run.
        config: Its new configuration.
    """
    before, entries = RunConfig.of(run), dict[str, object]()
    if config.settings != before.settings:
        entries["settings"] = to_json(config.settings)
    now, then = own_code(config), own_code(before)
    entries |= {kind: to_json(getattr(config, kind)) for kind in now if now[kind] != then.get(kind)}
    if not entries:
        return
    if now != then:
        keep_code(run, config)
    run.check_present()
    (run.folder / "summary.json").unlink(missing_ok=True)
    run.write_json("config.json", run.config | entries)
    run.watch()


def with_more_epochs(run: RunFolder, config: RunConfig, epochs: str, patience: int | None = None) -> RunConfig:
    """The configuration of a run with a longer schedule.

    With a constant learning rate the result is bit for bit that of a run with this schedule from the start.

    Arguments:
        run: The run.
        config: Its configuration.
        epochs: The whole schedule, epochs done included: ``"200"``, or ``"100x1,100x10"``.
        patience: The new patience; None keeps the run's.

    Raises:
        ValueError: If the schedule is no longer than what is done, or has other draws there; if the run was retrained.
    """
    schedule = parse_schedule(epochs, config.settings.schedule[-1][1])
    patience = config.settings.patience or 0 if patience is None else patience
    longer = replace(config.settings, schedule=schedule, patience=patience)
    last = SavedStates(run, "train").load()
    done, best = (0, 0) if last is None else (int(last.state[key]) for key in ("epoch", "best_epoch"))
    if longer.epochs <= done:
        raise ValueError(f"{run.folder} has done {done} epochs already; give more than {done} in all (--epochs)")
    if 0 < patience <= done - best:
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
    return replace(config, settings=longer)
