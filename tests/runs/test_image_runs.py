"""Images by the command line: a folder of them, every noise, bits a pixel, and what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ppl_vae.cli.main import main

SMALL = (
    *("train", "models/image.py", "--guide", "convolutional", "--epochs", "1", "--latents", "4", "--channels", "2"),
    *("--blocks", "1", "--guide-channels", "2", "--guide-blocks", "1", "--evidence-draws", "5", "--device", "cpu"),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with forty coloured images, whose first rows are all alike."""
    monkeypatch.chdir(tmp_path)
    for i in range(40):
        save(Path("images", f"{i:02}.png"), i)
    return tmp_path


def save(path: Path, seed: int = 0, shape: tuple[int, ...] = (6, 5, 3)) -> Path:
    pixels = np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)
    pixels[:2] = 7
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def invoke(*args: str):
    result = CliRunner().invoke(main, (*SMALL, *args))
    assert "Traceback" not in result.output
    return result


def done(*args: str) -> dict:
    result = invoke(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def words(*args: str) -> str:
    result = invoke(*args)
    assert result.exit_code != 0
    return " ".join(result.output.split())


@pytest.mark.parametrize("sigma", ["0.1", "learned", "vector"])
def test_coloured_images_have_bits_a_pixel_under_every_noise(sigma):
    found = done("--corpus", "images", "--sigma", sigma, "--floor", "0.01", "--dequantise", "--out", "r")
    assert not any("diverges" in note for note in found["notes"])
    for split in found["splits"].values():
        for key, bits in (("elbo", "bits_per_number"), ("evidence", "evidence_bits_per_number")):
            assert split[bits] == pytest.approx(8 - split[key]["mean"] / (6 * 5 * 3 * math.log(2)))
        assert split["bits_per_number_se"] == pytest.approx(split["elbo"]["se"] / (6 * 5 * 3 * math.log(2)))
    kept = json.loads(Path("r/config.json").read_text())
    assert kept["corpus"]["options"]["dequantise"] is True
    assert json.loads(Path("r/train-metrics.jsonl").read_text())["sigma"] > 0
    again = CliRunner().invoke(main, ["information", "r", "--data", "4", "--draws", "5", "--json"])
    assert again.exit_code == 0, again.output


def test_the_table_shows_bits_a_pixel_and_other_data_have_none():
    result = invoke("--corpus", "images", "--image-size", "4", "--out", "r")
    assert result.exit_code == 0, result.output
    assert "bits/pixel" in result.stdout and "a code length for dequantised bytes only" in " ".join(
        result.stdout.split()
    )
    assert json.loads(Path("r/config.json").read_text())["corpus"]["options"]["image_size"] == 4
    np.save("numbers.npy", np.random.default_rng(0).standard_normal((40, 6, 5)))
    assert "bits_per_number" not in done("--corpus", "numbers.npy")["splits"]["test"]


def test_a_learned_sigma_that_outran_the_data_is_told_and_a_given_one_is_not():
    fine = ("--corpus", "images", "--scale", "1e-4", "--learning-rate", "1e-6")
    notes = " ".join(done(*fine)["warnings"])
    assert "the likelihood diverges: sigma has fallen to 0.0001" in notes
    assert "30 of 90 numbers are constant" in notes and "--dequantise" in notes and "--floor" in notes
    assert not any("diverges" in note for note in done(*fine, "--floor", "0.01")["warnings"])
    assert not any("diverges" in note for note in done(*fine, "--sigma", "1e-4")["warnings"])


def test_faults_of_images_and_options_are_told():
    whole = save(Path("cut", "a.png")).read_bytes()
    Path("cut", "b.png").write_bytes(whole[: len(whole) // 2])
    assert "b.png cannot be read as an image" in words("--corpus", "cut")
    save(Path("uneven", "a.png"))
    save(Path("uneven", "b.png"), shape=(8, 5, 3))
    told = words("--corpus", "uneven")
    assert "b.png is 8 x 5," in told and "a.png is 6 x 5; bring all to one size with --image-size" in told
    Path("deep").mkdir()
    Image.fromarray(np.full((6, 5), 40_000, np.uint16)).save("deep/a.png")
    assert "a.png cannot be read as an image (I;16 holds more than 8 bits per channel" in words("--corpus", "deep")
    assert "'large' is not a valid integer" in words("--corpus", "images", "--image-size", "large")
    assert "-3 is not in the range" in words("--corpus", "images", "--image-size", "-3")
    refusal = words("--corpus", "bars", "--image-size", "4")
    assert "bars does not take image_size, which only mnist, FILE-idx3-ubyte, IDX/, IMAGES/ take" in refusal
    assert "leave --image-size out" in refusal
    np.save("numbers.npy", np.random.default_rng(0).standard_normal((40, 6, 5)))
    assert "other values than bytes over 255" in words("--corpus", "numbers.npy", "--dequantise")
    assert "convolutions read images" in words("--corpus", "gaussians")
    assert "sigma must be a positive number" in words("--corpus", "images", "--sigma", "wide")
