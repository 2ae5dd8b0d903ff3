from hashlib import sha256

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from safetensors.torch import save_file

from ppl_vae.nn.checkpoint import Checkpoint, read_tensors
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.training.run_folder import RunFolder, json_bytes
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer


def test_checkpoints_come_back_whole(tmp_path):
    path = tmp_path / "a" / "x.safetensors"
    tensors = {"model.w": torch.randn(2, 3), "random": torch.get_rng_state(), "step": torch.tensor(3.0)}
    Checkpoint(tensors, {"epoch": 3, "best": -1.5}).write(path)
    kept = Checkpoint.read(path)
    assert kept.state == {"epoch": 3, "best": -1.5}
    assert all(torch.equal(kept.tensors[n], t) and kept.tensors[n].dtype == t.dtype for n, t in tensors.items())
    assert list(kept.part("model")) == ["w"]


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    Checkpoint({"w": torch.zeros(100)}, {}).write(path)
    content = path.read_bytes()
    words = "x.safetensors is not a readable checkpoint .*; delete the checkpoints to train again"
    for broken in (content[:50], content[:-8], b"", b"not at all"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=words):
            Checkpoint.read(path)
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        Checkpoint.read(tmp_path / "missing")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"F32"', b'"I32"'),  # the type of a tensor
        (b"[20,5]", b"[5,20]"),  # its shape
        (b'\\"epoch\\": 3', b'\\"epoch\\": 4'),  # the state
    ],
)
def test_one_damaged_byte_of_the_header_is_found(tmp_path, old, new):
    path = tmp_path / "x.safetensors"
    Checkpoint({"w": torch.ones(20, 5)}, {"epoch": 3}).write(path)
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(ValueError, match="x.safetensors is not a readable checkpoint .its checksum is wrong"):
        Checkpoint.read(path)
    with pytest.raises(ValueError, match="x.safetensors is damaged: its checksum is wrong"):
        read_tensors(path)


def test_numbers_of_another_type_are_refused(tmp_path):
    kept = Checkpoint({"model.weight": torch.zeros(2, 3, dtype=torch.int32), "model.bias": torch.zeros(2)}, {})
    with pytest.raises(ValueError, match="tensor model.weight holds torch.int32, the model needs torch.float32"):
        kept.restore("model", torch.nn.Linear(3, 2), tmp_path)


def test_mismatched_tensors_are_named_with_both_shapes(tmp_path):
    kept = Checkpoint({"model.weight": torch.zeros(2, 3)}, {})
    with pytest.raises(ValueError, match=r"tensor model.weight has shape \(2, 3\), the model needs \(4, 3\)"):
        kept.restore("model", torch.nn.Linear(3, 4), tmp_path)
    with pytest.raises(ValueError, match="no tensor model.bias"):
        kept.restore("model", torch.nn.Linear(3, 2), tmp_path)


def test_a_file_of_tensors_is_the_same_whoever_writes_it_and_damage_shows(tmp_path):
    path, tensors = tmp_path / "t.safetensors", {"b": torch.ones(3), "a": torch.arange(5), "c": torch.zeros(2, 7)}
    written = set()
    for _ in range(20):  # the library's own order of metadata is one of chance
        Checkpoint(tensors, {"über": 1}).write(path)
        written.add(path.read_bytes())
    assert len(written) == 1
    assert Checkpoint.read(path).state == {"über": 1}
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in read_tensors(path).items())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="t.safetensors is damaged: its checksum is wrong"):
        read_tensors(path)
    Checkpoint({"ok": torch.ones(2), "odd": torch.tensor([1.0, float("nan")])}, {}).write(path)
    with pytest.raises(ValueError, match="t.safetensors: tensor odd has numbers that are not finite"):
        read_tensors(path)
    # Not written by us: its checksum is of something else.
    save_file(tensors, path, {"sha256": "of something else"})
    assert read_tensors(path).keys() == tensors.keys()
    with pytest.raises(ValueError, match="is a folder; give the file of tensors in it"):
        read_tensors(tmp_path)


def test_runs_are_made_once_and_found_again(tmp_path):
    run = RunFolder.create(tmp_path / "r", {"model": {"name": "text"}})
    assert RunFolder.open(tmp_path / "r").config["model"] == {"name": "text"}
    assert "torch" in run.config["versions"]
    with pytest.raises(ValueError, match=r"holds a run already; continue it with --resume .* \(in Python pv.resume\)"):
        RunFolder.create(tmp_path / "r", {})
    with pytest.raises(ValueError, match="is not a run folder: it has no config.json"):
        RunFolder.open(tmp_path)
    (tmp_path / "r" / "config.json").write_text('{"model"')
    with pytest.raises(ValueError, match="config.json cannot be read"):
        RunFolder.open(tmp_path / "r")


def test_a_metrics_line_cut_short_is_left_out(tmp_path):
    run = RunFolder(tmp_path)
    run.write_metrics([{"epoch": 1}, {"epoch": 2}])
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epo')
    assert run.metrics() == [{"epoch": 1}, {"epoch": 2}]


def test_products_are_rounded_in_training_alone(tmp_path):
    seen = {}

    class Watched(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(3))

        def forward(self, x):
            seen[torch.is_grad_enabled()] = torch.get_float32_matmul_precision()
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Bernoulli(logits=self.weight * 0 + x[:, :3]).to_event(1))
                pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True) * self.weight[0], 1.0).to_event(1), obs=x[:, :1])

    model, x = Watched(), torch.randn(8, 3)
    guide = LinearCounts(model, x)
    trainer = Trainer(model, guide, DiscreteELBO(), RunFolder(tmp_path), Settings([(1, 1)], precision="bf16"))
    trainer.fit(x, x)
    assert seen == {True: "medium", False: "highest"}
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ValueError, match="unknown precision 'half'; choose from float32, bf16"):
        Settings(precision="half")


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (1, b'{"epoch": 2', "line 2 cannot be read"),
        (1, b'\xff{"epoch": 2}', "line 2 cannot be read"),
        (1, b'{"epoch": 3}', "line 2: the metrics of epoch 2 are expected"),
        (1, b"[]", "line 2: the metrics of epoch 2 are expected"),
        (0, b"null", "line 1: the metrics of epoch 1 are expected"),
        (2, b'{"epoch": 3, "train_elbo": {}}', "line 3: the metrics of epoch 3 are expected"),
    ],
)
def test_a_damaged_line_of_metrics_is_named(tmp_path, number, line, message):
    lines = [b'{"epoch": %d}' % epoch for epoch in (1, 2, 3)]
    lines[number] = line
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(ValueError, match=f"metrics.jsonl, {message}.*; restore it, or delete the checkpoints"):
        RunFolder(tmp_path).metrics()


def test_a_changed_summary_is_found(tmp_path):
    run = RunFolder(tmp_path)
    content = json_bytes({"epochs": 3})
    run.write("summary.json", content)
    assert run.summary == {"epochs": 3}
    Checkpoint({"w": torch.ones(2)}, {"json": sha256(content).hexdigest()}).write(tmp_path / "pointwise.safetensors")
    assert run.summary == {"epochs": 3}
    run.write_json("summary.json", {"epochs": 4})
    with pytest.raises(ValueError, match="summary.json has changed since the training wrote it; restore it, or"):
        _ = run.summary


@pytest.mark.parametrize("name", ["README.md", "train.csv", "summary.json"])
def test_no_run_begins_in_a_folder_with_a_file_that_it_would_overwrite(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"holds {name}, which a run would overwrite; choose another --out"):
        RunFolder.create(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == [name]
