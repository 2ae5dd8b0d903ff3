"""Training a generator: what it leaves, resuming bit for bit, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from ppl_vae.models.gan_gaussian import GanGaussian
from torch import nn

from ppl_vae.cli.main import main
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.objectives.base import NonFiniteError
from ppl_vae.training import gan as generators
from ppl_vae.training.gan import fit_generator
from ppl_vae.training.gan_settings import GanSettings
from ppl_vae.training.run_folder import RunFolder

SMALL = GanSettings(latents=3, channels=2, epochs=3, batch_size=10)


def images(count=45, shape=(8, 8)):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


def fitted(folder: Path, x=None, settings=SMALL):
    return fit_generator(images() if x is None else x, RunFolder.create(folder, {}), settings)


def same(first: Path, second: Path) -> bool:
    one, two = (Checkpoint.read(path).tensors for path in (first, second))
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_it_leaves_what_a_model_loads_sheets_and_losses(tmp_path):
    torch.manual_seed(5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    found = fitted(tmp_path / "r")
    assert torch.equal(torch.rand(1), drawn)  # the caller's random state is left alone
    model = GanGaussian(3, 2, str(found.file), shape=(8, 8))
    z = torch.randn(4, 3)
    torch.testing.assert_close(model.generator(z), found.generator(z))
    files = {path.name for path in (tmp_path / "r" / "figures").iterdir()}
    assert files == {"samples.png", "losses.png", *(f"samples-{epoch:04}.png" for epoch in (1, 2, 3))}
    rows = RunFolder(tmp_path / "r").metrics("train-metrics")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(0 < row["data_probability"] < 1 and row["generator_loss"] > 0 for row in rows)


def test_frozen_statistics_are_those_of_the_last_weights(tmp_path):
    found = fitted(tmp_path / "r")
    with torch.no_grad():
        first, norm = found.generator.main[0], found.generator.main[1]
        h = first(torch.randn(20_000, 3, 1, 1))
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_mean, h.mean((0, 2, 3)), atol=5e-3, rtol=0.1)
    torch.testing.assert_close(norm.running_var, h.var((0, 2, 3)), atol=0, rtol=0.1)


def test_an_interrupted_training_ends_bit_for_bit_as_one_never_interrupted(tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    monkeypatch.setattr("ppl_vae.training.saving.CHECKPOINT_SECONDS", 0.0)
    fitted(whole)
    steps = generators._Gan._step

    def stops(self, data):
        if self.epoch == 1 and len(self.rows) == 1 and torch.rand(1, generator=dice) < 0.5:
            raise KeyboardInterrupt
        return steps(self, data)

    dice = torch.Generator().manual_seed(1)
    monkeypatch.setattr(generators._Gan, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        fitted(cut)
    assert Checkpoint.read(cut / "checkpoints" / "train-last.safetensors").state["epoch"] == 1
    monkeypatch.setattr(generators._Gan, "_step", steps)
    fit_generator(images(), RunFolder.open(cut), SMALL)
    for name in ("checkpoints/train-last.safetensors", "generator.safetensors"):
        assert same(whole / name, cut / name)
    for one, two in zip(*(RunFolder(each).metrics("train-metrics") for each in (whole, cut)), strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in two.items() if k != "seconds"}


def test_a_history_that_is_short_is_told(tmp_path):
    fitted(tmp_path / "r")
    metrics = tmp_path / "r" / "train-metrics.jsonl"
    for lines in (1, 0):
        metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:lines]))
        with pytest.raises(ValueError, match=f"train-metrics.jsonl has {lines} of 3 epochs; restore it"):
            fit_generator(images(), RunFolder.open(tmp_path / "r"), SMALL)
    metrics.unlink()
    with pytest.raises(ValueError, match="has 0 of 3 epochs"):
        fit_generator(images(), RunFolder.open(tmp_path / "r"), SMALL)


def test_colours_that_cannot_be_shown_are_refused(tmp_path):
    for colours in (2, 5):
        with pytest.raises(ValueError, match=f"of 1 or 3 colours, these have {colours}"):
            fitted(tmp_path / str(colours), images(shape=(colours, 8, 8)))
    assert fitted(tmp_path / "one", images(shape=(1, 8, 8)), GanSettings(3, 2, 1, 10)).file.exists()


def test_it_learns_one_bright_half(tmp_path):
    """Images that are bright on the left: so are the generator's, in the end."""
    x = 0.1 * images(400)
    x[:, :, :4] += 0.8
    found = fitted(tmp_path / "r", x, GanSettings(latents=2, channels=8, epochs=6, batch_size=20, learning_rate=4e-3))
    with torch.no_grad():
        drawn = (1 + found.generator(torch.randn(200, 2))) / 2
    assert drawn[:, :, :4].mean() > 0.6 and drawn[:, :, 4:].mean() < 0.4


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(tmp_path):
    x = images()
    x[:] = 0.5
    with pytest.raises(NonFiniteError, match="the state of epoch 0 is kept; lower the learning rate"):
        fitted(tmp_path / "r", x, GanSettings(latents=3, channels=2, epochs=2, batch_size=10, learning_rate=1e30))
    assert Checkpoint.read(tmp_path / "r" / "checkpoints" / "train-last.safetensors").state["epoch"] == 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with coloured images of two classes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = rng.integers(120, size=(8, 8, 3), dtype=np.uint8) + 130 * np.uint8(i % 2)
        Image.fromarray(values.astype(np.uint8)).save(path)
    return tmp_path


def invoke(*args: str):
    result = CliRunner().invoke(main, args)
    assert "Traceback" not in result.output
    return result


GAN = ("generator", "images", "--latents", "3", "--channels", "2", "--batch-size", "10", "--device", "cpu")
VAE = (
    *("train", "gan_gaussian", "--corpus", "images", "--guide", "convolutional", "--guide-network", "discriminator"),
    *("--guide-channels", "2", "--latents", "3", "--channels", "2", "--epochs", "1", "--evidence-draws", "5"),
    *("--device", "cpu"),
)


def test_from_images_to_a_generator_to_a_model_to_its_frechet_distance(folder):
    made = invoke(*GAN, "--epochs", "2", "--image-size", "16", "--out", "g", "--json")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["last"]["epoch"] == 2
    assert "note: " in made.stderr  # of a corpus without a test split
    again = invoke("generator", "--resume", "g")
    assert again.exit_code == 0 and "generator loss" in again.output
    trained = invoke(
        *VAE, "--generator", "g/generator.safetensors", "--objective", "sleep", "--image-size", "16", "--out", "s"
    )
    assert trained.exit_code == 0, trained.output
    kept = json.loads(Path("s/config.json").read_text())["model"]["options"]["generator"]
    assert kept == str(folder / "g" / "generator.safetensors")
    shutil.move("g", "moved")  # the run holds its own tensors
    joint = invoke(*VAE, "--start", "s", "--sigma", "learned", "--image-size", "16", "--out", "j")
    assert joint.exit_code == 0, joint.output
    found = invoke("frechet", "s", "--images", "30", "--json")
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    assert re.fullmatch("images classifier [0-9a-f]{8}, 64 features", content["features"])
    assert content["distance"] > 0 and content["count"] == [30, 4, 30] and content["width"] == 64
    assert content["warnings"][0].startswith("4 images give no covariance of full rank for 64 features")
    assert 0 <= content["accuracy"] <= 1
    assert json.loads(Path("s/frechet-test-classifier.json").read_text()) == content
    table = invoke("frechet", "j", "--against", "s", "--images", "20", "--means")
    assert table.exit_code == 0, table.output
    assert "Frechet distance (images classifier " in table.stdout
    assert "% of test images" in table.stdout and "note: 20 images give no covariance" in table.stdout
    assert len(list(Path("j").glob("frechet-s-????????-classifier-means.json"))) == 1


def test_faults_are_told(folder):
    def words(*args):
        result = invoke(*args)
        assert result.exit_code != 0
        return " ".join(result.output.split())

    assert "name the images" in words("generator")
    assert "continues a run with its own options; leave out --epochs" in words(
        "generator", "--resume", "g", "--epochs", "3"
    )
    assert "not a run folder" in words("generator", "--resume", "g")
    assert "learns from images in [0, 1], but the data are (2,) each" in words("generator", "gaussians")
    assert "needs even sides of at least 8, not 7 x 7" in words(*GAN, "--image-size", "7", "--out", "x")
    assert not Path("x").exists()
    assert "36 images are no batch of 50" in words(*GAN[:6], "--batch-size", "50")
    assert "neither a corpus nor a file" in words("generator", "nowhere")
    random = np.random.default_rng(0)
    for array, told in (
        (random.random((40, 8, 8, 3)), "these have 8; their colours come last: save numpy.moveaxis(array, -1, 1)"),
        (random.integers(256, size=(40, 8, 8)), "each, from 0 to 255; divide bytes by 255"),
        (random.random((200, 9, 9)), "not 9 x 9; scale the images to 32 or 64 (--image-size does it for folders,"),
    ):
        np.save("x.npy", array)
        assert told in words("generator", "x.npy", "--batch-size", "9")
    Path("empty").mkdir()
    assert "no .txt file and no image" in words("generator", "empty")
    assert invoke(*GAN, "--epochs", "1", "--out", "g").exit_code == 0
    assert "holds a run already" in words(*GAN, "--out", "g")
    assert "holds no pair, but the training of a generator" in words("evidence", "g")
    assert "training of a generator; continue it by ppl-vae generator --resume g" in words("train", "--resume", "g")
    assert "training of a generator; begin with it by --generator g/gen" in words(*VAE, "--start", "g", "--out", "h")
    assert "is a folder; give the file of tensors in it" in words(*VAE, "--generator", "g", "--out", "h")
    config = json.loads(Path("g/config.json").read_text())
    config["generator"]["colour"] = 1
    Path("g/config.json").write_text(json.dumps(config))
    assert "g/config.json: generator.colour is unknown; restore the file" in words("generator", "--resume", "g")
    assert "has shape (3, 2, 4, 4), the generator needs (4," in words(
        *VAE, "--latents", "4", "--generator", "g/generator.safetensors"
    )
    point = ("train", "ppca", "--corpus", "gaussians", "--epochs", "1", "--evidence-data", "9", "--out", "p")
    assert invoke(*point, "--batch-size", "3000", "--device", "cpu").exit_code == 0
    assert "compares images" in words("frechet", "p")
    assert invoke(*VAE, "--out", "v").exit_code == 0
    assert "weights are not at" in words("frechet", "v", "--features", "inception", "--weights", "none.pth")
    assert "weights is a file of Inception: take --features inception" in words("frechet", "v", "--weights", "none.pth")
    assert "leave out --split, --data" in words("frechet", "v", "--against", "v", "--split", "test", "--data", "9")
    Path("none.pth").write_bytes(b"no weights")
    assert "has the SHA-256" in words("frechet", "v", "--features", "inception", "--weights", "none.pth")
    for path in Path("images").rglob("*.png"):
        path.rename(Path("images", path.name))
    for name in "ab":
        Path("images", name).rmdir()
    assert invoke(*VAE, "--out", "w").exit_code == 0
    assert "have no labels to train a classifier on" in words("frechet", "w")
