"""How to come by the same run."""

from __future__ import annotations

from markupsafe import Markup

from ppl_vae.runs.command import train_command
from ppl_vae.runs.report.markup import code, facts, folded, joined
from ppl_vae.runs.report.subject import Subject

TITLE = "How to reproduce it"
PLACE = 95


def section(subject: Subject) -> Markup | None:
    """The command, versions, and digests of data and state."""
    config = subject.run.config
    named = {
        "Folder": str(subject.run.folder),
        "Data": f"{config.corpus}; SHA-256 {config.fingerprint}",
        "Parameters": f"SHA-256 {subject.run.state.checkpoint}",
        "Model": f"{config.model.name}; SHA-256 {config.model.sha256 or 'not known'}",
        "Guide": f"{config.guide.name}; SHA-256 {config.guide.sha256 or 'not known'}",
        "Seed": str(config.settings.seed),
        "Device": config.device,
        "Versions": ", ".join(f"{name} {version}" for name, version in config.versions.items()),
    }
    command = train_command(config)
    first = (
        code(command)
        if command
        else Markup("<p>{}</p>").format(
            "The run was trained on objects of a Python program, which no command brings back."
        )
    )
    from json import dumps

    from ppl_vae.runs.config import to_json

    return joined([first, facts(named), folded("The whole configuration", code(dumps(to_json(config), indent=2)))])
