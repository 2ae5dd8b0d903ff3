"""The configuration of a run: written, read again, and every damage to it named with its place."""

import copy
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from ppl_vae.data import corpora
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.programs.loading import find
from ppl_vae.runs.config import LATER, CorpusConfig, ProgramChoice, RunConfig, from_json, to_json
from ppl_vae.runs.options import run_config, training_options
from ppl_vae.runs.pair import Pair
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings

CONFIG = RunConfig(
    model=ProgramChoice.of(find("models", "gmm"), {"bits": 2, "centres": "four", "scale": 1.0, "learn_scale": False}),
    guide=ProgramChoice.of(find("guides", "mean_field"), {"layers": 1, "width": 8}),
    corpus=CorpusConfig("gaussians", validation=0.2),
    settings=Settings(schedule=[(3, 1), (2, 4)], decay="linear"),
    rate_cost=RateCost(beta=2.0, rate=1.5),
    control="none",
    fingerprint="0f",
    versions={"torch": "2"},
)


def test_a_configuration_is_read_as_it_was_written(tmp_path):
    run = RunFolder.create(tmp_path / "r", to_json(CONFIG))
    assert replace(RunConfig.of(run), versions=CONFIG.versions) == CONFIG
    assert json.loads((tmp_path / "r/config.json").read_text())["settings"]["schedule"] == [[3, 1], [2, 4]]
    assert (CONFIG.use_control, CONFIG.objective_description) == (False, "D + 2 |R - 1.5|")


def leaves(table: dict, place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    return [
        leaf
        for name, value in table.items()
        for leaf in (leaves(value, (*place, name)) if isinstance(value, dict) else [(*place, name)])
    ]


def changed(place: tuple[str, ...], value: object) -> dict:
    content = json.loads(json.dumps(to_json(CONFIG)))
    table = content
    for name in place[:-1]:
        table = table[name]
    if value is ...:
        del table[place[-1]]
    else:
        table[place[-1]] = value
    return content


FREE = ("options", "versions")
"""Tables whose keys are not fixed."""

PLACES = [place for place in leaves(to_json(CONFIG)) if not set(place) & set(FREE)]


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_every_missing_and_every_ill_typed_entry_is_named_with_its_place(place, tmp_path):
    dotted = ".".join(place)
    if dotted in LATER:
        assert from_json(RunConfig, changed(place, ...), tmp_path / "config.json") == CONFIG
    else:
        with pytest.raises(ValueError, match=rf"json: {dotted} is missing; restore the file, or start a new run$"):
            from_json(RunConfig, changed(place, ...), tmp_path / "config.json")
    wrong = {} if place[-1] == "schedule" else [{}]
    with pytest.raises(ValueError, match=rf"config.json: {dotted} is .+; (give|choose from) .+; restore the file, or"):
        from_json(RunConfig, changed(place, wrong), tmp_path / "config.json")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("settings", "clip"), "x", "settings.clip is 'x'; give a number"),
        (("settings", "clip"), -1, "settings: clip must be a finite number, at least 0, got -1"),
        (("settings", "clip"), float("nan"), "settings: clip must be a finite number, at least 0, got nan"),
        (("settings", "batch_size"), 1.5, "settings.batch_size is 1.5; give a whole number"),
        (("settings", "batch_size"), True, "settings.batch_size is True; give a whole number"),
        (("settings", "decay"), "slow", "settings.decay is 'slow'; choose from none, linear, cosine"),
        (("settings", "capture"), 1, "settings.capture is 1; give true or false"),
        (("settings", "optimizer"), "Adm", "settings: unknown optimizer 'Adm'; choose from"),
        (("settings", "schedule"), [[3, "1"]], r"settings.schedule\[0\]\[1\] is '1'; give a whole number"),
        (("settings", "schedule"), [[3]], r"settings.schedule\[0\] is \[3\]; give a list of length 2"),
        (("settings", "schedule"), [], "settings: the schedule must have phases"),
        (("settings", "schedule"), [[3, 0]], "settings: the schedule must have phases"),
        (("settings", "seed"), -1, "settings: the seed must lie in"),
        (("settings",), 3, "settings is 3; give a table"),
        (("settings", "clop"), 3, "settings.clop is unknown"),
        (("rate_cost", "rate"), "high", "rate_cost.rate is 'high'; give a number or null"),
        (("rate_cost", "anneal"), "up", "rate_cost: annealing is none, linear:EPOCHS or cyclic:EPOCHS, got 'up'"),
        (("objective",), "elba", "objective is 'elba'; choose from elbo, likelihood, sleep, wake_sleep, symmetric"),
        (("control",), "second", "control is 'second'; choose from first_order, none"),
        (("device",), "gpu", "device is 'gpu'; choose from cpu, cuda, mps"),
        (("evidence_draws",), 1, "evidence_draws is 1; give a whole number >= 2"),
        (("model", "options"), [1], r"model.options is \[1\]; give a table"),
        (
            ("model", "options", "bits"),
            [1],
            r"model.options is .*'bits': \[1\].*; give true or false or a whole",
        ),
        (("versions", "torch"), 2, "versions is {'torch': 2}; give text"),
        (("modell",), {}, "modell is unknown"),
        (("corpus", "colour"), "red", "corpus.colour is unknown"),
    ],
)
def test_wrong_values_are_named_with_a_remedy(place, value, words, tmp_path):
    with pytest.raises(ValueError, match=f"config.json: {words}.*; restore the file, or start a new run$"):
        from_json(RunConfig, changed(place, value), tmp_path / "config.json")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bits": "two"}, "model.options.bits is 'two'; give a whole number"),
        ({"bitts": 2}, "model.options has no bitts; did you mean bits"),
        ({"centres": "five"}, "model.options.centres is 'five'; choose from four"),
    ],
)
def test_wrong_options_of_a_model_are_named_when_it_is_built(options, words):
    config = replace(CONFIG, model=replace(CONFIG.model, options=options))
    with pytest.raises(ValueError, match=f"config.json: {words}.*; restore the file, or start a new run$"):
        Pair.from_config(config, torch.zeros(4, 2))


def test_differences_of_configurations_are_named_but_for_versions_and_files_of_the_package():
    other = replace(
        CONFIG,
        settings=replace(CONFIG.settings, seed=1),
        model=replace(CONFIG.model, sha256="0", options={"bits": 3}),
        versions={},
        fingerprint=None,
    )
    assert CONFIG.differences(copy.deepcopy(CONFIG)) == []
    assert CONFIG.differences(other) == [
        "model.options.bits was 2 and is now 3",
        "model.options.centres was 'four' and is now None",
        "model.options.learn_scale was False and is now None",
        "model.options.scale was 1.0 and is now None",
        "settings.seed was 0 and is now 1",
    ]
    own = replace(CONFIG, model=ProgramChoice("/home/mine.py", "0"))
    assert own.differences(replace(own, model=ProgramChoice("/home/mine.py", "1"))) == [
        "model.sha256 was '0' and is now '1'"
    ]


def test_options_have_the_defaults_of_their_classes_and_values_of_their_types():
    config = run_config("gmm", device="cpu")
    assert config.settings == Settings(schedule=[(0, 1)], patience=None)
    assert config.settings.settled(9_000) == Settings(schedule=[(60, 1)], patience=10)
    assert (config.rate_cost, config.corpus) == (RateCost(), CorpusConfig("gaussians"))
    assert run_config("text", device="cpu").corpus == CorpusConfig("docstrings", options={"vocabulary": 10_000})
    assert run_config("gmm", objective="likelihood", device="cpu").settings.settled(9_000).schedule == [(60, 16)]
    chosen = run_config("gmm", "full", epochs="2x1,3x4", beta=2, guide_width=9, scale=3, device="cpu", seed=4)
    assert chosen.settings.schedule == [(2, 1), (3, 4)] and isinstance(chosen.rate_cost.beta, float)
    assert (chosen.guide.options["width"], chosen.model.options["scale"]) == (9, 3.0)
    assert (chosen.settings.seed, chosen.corpus.seed) == (4, 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epoch": 3}, r"gmm with mean_field has no epoch; did you mean epochs\? It has bits, centres"),
        ({"epochs": "few"}, "epochs are a number of at least 1, or phases"),
        ({"draws": 0}, "gmm with mean_field.draws is 0; give a whole number of at least 1"),
        ({"retrain": 1}, "retrain is 1; give true or false"),
        ({"evidence_draws": 1}, "evidence_draws is 1; give a whole number of at least 2"),
        ({"estimator": "amr"}, "estimator: there is no estimator 'amr'; choose from auto, "),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"path_gradients": True}, "take --objective likelihood"),
        ({"objective": "likelihood", "beta": 2.0}, "--beta weighs the rate, and the likelihood has none"),
        ({"corpus": "docstrings"}, "model gmm reads tensors, but docstrings holds documents"),
        ({"start": "nowhere"}, "nowhere is not a run folder"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        run_config("gmm", **{"device": "cpu"} | options)


def test_an_option_of_ones_own_that_has_the_name_of_another_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from pyro.nn import PyroModule\nclass Mine(PyroModule):\n"
        "    def __init__(self, shape, decay: float = 1.0):\n        super().__init__()\n"
    )
    with pytest.raises(ValueError, match="mine.py: argument 'decay' clashes with the option --decay; rename it"):
        run_config("mine.py")


def test_every_entry_of_a_configuration_that_a_user_chooses_is_an_option():
    options = {option.name for group in training_options().values() for option in group}
    settings = {field.name for field in fields(Settings)} - {"schedule"} | {"epochs", "draws"}
    costs = {field.name for field in fields(RateCost)}
    corpus = {"corpus", "validation"} | {option.name for reader in corpora().values() for option in reader.options}
    nested = {"model", "guide", "settings", "rate_cost", "fingerprint", "versions", "digests", "chosen_estimator"}
    assert options == {field.name for field in fields(RunConfig)} - nested | settings | costs | corpus
    assert all(option.help for group in training_options().values() for option in group)
