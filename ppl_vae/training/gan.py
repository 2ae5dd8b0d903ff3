"""Training a generator against a discriminator: epochs, checkpoints, sample sheets, and the tensors a model loads."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ppl_vae.evidence.figures import OKABE_ITO, marker, show_sheet, whole
from ppl_vae.evidence.tables import text_table
from ppl_vae.nn.checkpoint import Checkpoint, optimizer_state, restore_optimizer
from ppl_vae.nn.dcgan import Discriminator, Generator
from ppl_vae.objectives.base import NonFiniteError
from ppl_vae.programs.random_state import fork_random_state, random_states, set_random_states
from ppl_vae.training.gan_settings import GanSettings, check_images
from ppl_vae.training.progress import Reporter
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.saving import SavedStates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FILE", "TrainedGenerator", "fit_generator"]

FILE = "generator.safetensors"
"""What a model loads, in the folder of a generator's training."""

SETTLING = (20, 128)
"""Batches, and codes of each, over which the statistics of normalisation are estimated after training."""

SHOWN = 64

SHEETS = 8


@dataclass(frozen=True)
class TrainedGenerator:
    """The result of a generator's training.

    Arguments:
        generator: The generator, its statistics of normalisation frozen.
        file: Path of its tensors.
        rows: Metrics of each epoch.
    """

    generator: Generator
    file: Path
    rows: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return {"generator": str(self.file), "epochs": len(self.rows), "last": self.rows[-1]}

    def __str__(self) -> str:
        rows = [(str(row["epoch"]), *(f"{row[name]:.3f}" for name in NAMES)) for row in self.rows[-3:]]
        return text_table(
            f"generator {self.file}",
            ("epoch", "generator loss", "discriminator loss", "D(data)", "D(samples)"),
            rows,
            caption="losses in nats per image; D is the probability the discriminator gives to being data",
            width=100,
            min_width=70,
        )


NAMES = ("generator_loss", "discriminator_loss", "data_probability", "sample_probability")


class _Gan:
    """Both networks, their optimisers, and how far they are.

    Arguments:
        x: Images in [0, 1].
        run: Where checkpoints, metrics and sheets go.
        settings: Training settings.
    """

    def __init__(self, x: Tensor, run: RunFolder, settings: GanSettings) -> None:
        self.x, self.run, self.settings, self.epoch = x, run, settings, 0
        torch.manual_seed(settings.seed)
        self.generator = Generator(settings.latents, x.shape[1:], settings.channels).to(x.device)
        self.discriminator = Discriminator(x, 1, settings.channels, batch_norm=True).to(x.device)
        self.parts: dict[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimizers = {
            name: torch.optim.Adam(part.parameters(), settings.learning_rate, betas=(0.5, 0.999), fused=True)
            for name, part in self.parts.items()
        }
        self.rows: list[dict[str, Any]] = []
        self.good = self._snapshot()
        self._saved = SavedStates(run, "train")

    def fit(self) -> TrainedGenerator:
        settings = self.settings
        batches = len(self.x) // settings.batch_size
        between = math.ceil(settings.epochs / SHEETS)
        reporter = Reporter("generator", settings.epochs * batches, self.epoch * batches)
        try:
            with reporter:
                while self.epoch < settings.epochs:
                    self._go(reporter)
                    if self.epoch % between == 0 or self.epoch == settings.epochs:
                        self._sheet(f"samples-{self.epoch:04}")
                    self._saved.offer(self.good, None, self.rows)
        finally:
            self._saved.finish(self.good, None, self.rows)
        generator = self.with_final_statistics()
        path = self.run.folder / FILE
        content = Checkpoint(generator.state_dict(), asdict(settings) | {"shape": list(generator.shape)})
        self.run.write_tensors(path.stem, content)
        self._sheet("samples", generator)
        self.run.figure("losses", self._draw_losses, (9, 3.6))
        return TrainedGenerator(generator, path, self.rows)

    def _go(self, reporter: Reporter) -> None:
        settings, count, begun = self.settings, self.settings.batch_size, time.monotonic()
        random = torch.Generator().manual_seed(settings.seed * 1_000_003 + self.epoch + 1)
        order = torch.randperm(len(self.x), generator=random).to(self.x.device)
        steps = order[: len(order) // count * count].split(count)
        sums = torch.zeros(4, dtype=torch.float64, device=self.x.device)
        for part in self.parts.values():
            part.train()
        last = f", losses {self.rows[-1][NAMES[0]]:.2f} and {self.rows[-1][NAMES[1]]:.2f}" if self.rows else ""
        for rows in steps:
            sums += self._step(2 * self.x[rows] - 1)
            reporter.advance(1, f"epoch {self.epoch + 1}{last}")
        means = (sums / len(steps)).tolist()
        if not all(map(math.isfinite, means)):
            raise NonFiniteError(
                f"epoch {self.epoch + 1}: the losses are {means[0]:g} and {means[1]:g}; the state of epoch "
                f"{self.epoch} is kept; lower the learning rate (--learning-rate, learning_rate=)"
            )
        self.epoch += 1
        row = {"epoch": self.epoch} | dict(zip(NAMES, means, strict=True))
        self.rows.append(row | {"seconds": round(time.monotonic() - begun, 3)})
        self.good = self._snapshot()

    def _step(self, data: Tensor) -> Tensor:
        """One update of each network; the four metrics."""
        samples = self.generator(torch.randn(len(data), self.settings.latents, device=data.device))
        of_data, of_samples = (self.discriminator(images) for images in (data, samples.detach()))
        real, false = torch.ones_like(of_data), torch.zeros_like(of_data)
        loss = binary_cross_entropy_with_logits(of_data, real) + binary_cross_entropy_with_logits(of_samples, false)
        self._update("discriminator", loss)
        # Non-saturating generator loss: the gradient of a poor generator does not vanish
        # (Goodfellow et al. 2014, section 3).
        game = binary_cross_entropy_with_logits(self.discriminator(samples), real)
        self._update("generator", game)
        found = (game, loss, of_data.sigmoid().mean(), of_samples.sigmoid().mean())
        return torch.stack([each.detach().double() for each in found])

    def _update(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward(inputs=list(self.parts[name].parameters()))  # type: ignore[no-untyped-call]
        self.optimizers[name].step()

    def with_final_statistics(self) -> Generator:
        """The generator with the statistics of normalisation of its weights as they are now, frozen."""
        settings = self.settings
        moving = copy.deepcopy(self.generator).train()
        for layer in moving.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.momentum = None  # the mean over batches
        with fork_random_state(settings.seed), torch.no_grad():
            frozen = Generator(settings.latents, self.generator.shape, settings.channels, frozen=True)
            for _ in range(SETTLING[0]):
                moving(torch.randn(SETTLING[1], settings.latents, device=self.x.device))
        frozen.load_state_dict(moving.state_dict())
        return frozen.to(self.x.device)

    def _sheet(self, name: str, generator: Generator | None = None) -> None:
        generator = generator or self.with_final_statistics()
        with fork_random_state(self.settings.seed), torch.no_grad():
            images = (1 + generator(torch.randn(SHOWN, self.settings.latents, device=self.x.device))) / 2

        def draw(figure: Figure) -> None:
            panels = figure.subplots(1, 2)
            for axes, each, title in zip(
                panels, (self.x[:SHOWN], images), ("data", f"generator, epoch {self.epoch}"), strict=True
            ):
                show_sheet(axes, each, 8)
                axes.set_title(title)

        self.run.figure(name, draw, (9.6, 5.0))

    def _draw_losses(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        epochs = [row["epoch"] for row in self.rows]
        lines = {left: (("generator_loss", "generator"), ("discriminator_loss", "discriminator"))}
        lines[right] = (("data_probability", "of data"), ("sample_probability", "of samples"))
        for axes, kinds in lines.items():
            for (name, label), colour in zip(kinds, (OKABE_ITO.blue, OKABE_ITO.vermilion), strict=True):
                values = [row[name] for row in self.rows]
                axes.plot(epochs, values, color=colour, label=label, marker=marker(epochs))
            whole(axes.xaxis)
            axes.legend(frameon=False)
        left.set(xlabel="epoch", ylabel="loss (nats per image)")
        right.set(xlabel="epoch", ylabel="probability of being data, by D", ylim=(0, 1))
        figure.suptitle("Generator against discriminator")

    def _snapshot(self) -> Checkpoint:
        tensors = {f"random.{name}": value for name, value in random_states().items()}
        state: dict[str, Any] = {"epoch": self.epoch}
        for name, part in self.parts.items():
            tensors |= {f"{name}.{key}": value.detach().clone() for key, value in part.state_dict().items()}
            kept, state[name] = optimizer_state(self.optimizers[name], f"optimizer_{name}")
            tensors |= kept
        return Checkpoint(tensors, state)

    def resume(self) -> None:
        """Resumes from the last saved state, if there is one, exactly."""
        saved, path = self._saved.load(), self.run.checkpoint("train-last")
        if saved is None:
            return
        self.good = saved
        for name, part in self.parts.items():
            self.good.restore(name, part, path)
            restore_optimizer(self.optimizers[name], self.good.part(f"optimizer_{name}"), self.good.state[name])
        set_random_states(self.good.part("random"))
        self.epoch = self.good.state["epoch"]
        self.rows = self.run.metrics("train-metrics", self.epoch)


def fit_generator(x: Tensor, run: RunFolder, settings: GanSettings) -> TrainedGenerator:
    r"""Trains a generator, or resumes its training exactly.

    .. math:: \max_D \mathbb{E} \log D(x) + \mathbb{E} \log(1 - D(G(z))), \qquad \max_G \mathbb{E} \log D(G(z))

    alternately, one step each (Goodfellow et al. 2014, algorithm 1 with the loss of section 3 that does not saturate).

    Arguments:
        x: Images in [0, 1], ``(data, height, width)`` or ``(data, channels, height, width)``.
        run: Where checkpoints, metrics, sheets and the generator go.
        settings: Training settings.

    Raises:
        ValueError: If the data are no such images, or fewer than a batch.
        NonFiniteError: If a loss is not finite; the last good state is kept.
    """
    check_images(x, settings)
    with fork_random_state():
        gan = _Gan(x, run, settings)
        gan.resume()
        return gan.fit()
