"""A wheel holds every package and every data file of the checkout."""

import configparser
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
BESIDE = ("models", "guides", "experiments")


def settings():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def folders():
    """Folders of the checkout by the name of their package."""
    inside = {
        ".".join(init.parent.relative_to(ROOT).parts): init.parent for init in ROOT.glob("ppl_vae/**/__init__.py")
    }
    return inside | {f"ppl_vae.{name}": ROOT / name for name in BESIDE}


def test_every_package_is_listed():
    assert sorted(settings()["options"]["packages"].split()) == sorted(folders())


def test_every_data_file_is_listed():
    patterns = {name: value.split() for name, value in settings()["options.package_data"].items()}
    missing = [
        f"{package}: {file.name}"
        for package, folder in folders().items()
        for file in folder.iterdir()
        if file.is_file() and file.suffix not in (".py", ".pyc")
        if not any(fnmatch(file.name, pattern) for pattern in patterns.get(package, ()))
    ]
    assert missing == []
