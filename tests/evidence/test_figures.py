"""What all figures share."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ppl_vae.evidence.figures import apart, bars_of_counts, draw_seeds, fit_title, whole

PAIR = (
    "image with convolutional (latents=32, channels=16, blocks=4, generator=/a/path/with/many/folders/g.safetensors, "
    "sigma=learned, scale=0.025, floor=0.0, guide-network=discriminator, guide-channels=16, guide-blocks=4): test"
)


def drawn(size=(9.0, 3.8)):
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(), FigureCanvasAgg(figure)


@pytest.mark.parametrize("size", [9, 12, 16])
def test_a_long_title_fits_its_figure_which_grows(size):
    figure, _, canvas = drawn()
    figure.suptitle(PAIR, fontsize=size)
    fit_title(figure)
    canvas.draw()
    (title,) = figure.texts
    ends = title.get_window_extent()
    assert ends.x0 >= 0 and ends.x1 <= figure.bbox.width
    assert title.get_fontsize() == size
    assert "generator=g.safetensors" in figure.get_suptitle()
    assert figure.get_size_inches()[1] > 3.8


@pytest.mark.parametrize("words", ["", "text with linear_counts (bits=8): test\nand a line"])
def test_a_title_that_fits_is_left_alone(words):
    figure, _, _ = drawn()
    if words:
        figure.suptitle(words)
    fit_title(figure)
    assert figure.get_suptitle() == words
    assert figure.get_size_inches().tolist() == [9, 3.8]


def test_one_epoch_is_labelled_by_its_number():
    _, axes, canvas = drawn()
    axes.plot([1], [-3.0], "o")
    whole(axes.xaxis)
    canvas.draw()
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_few_counts_have_whole_ticks_and_the_legend_stands_above_the_bars():
    _, axes, canvas = drawn()
    axes.hist([1.0, 2.0, 10.0], bins=40, label="data")
    axes.axvline(4.3, label="mean")
    bars_of_counts(axes)
    canvas.draw()
    assert all(tick == round(tick) for tick in axes.get_yticks())
    bars = max(bar.get_window_extent().y1 for bar in axes.patches)
    assert axes.get_legend().get_window_extent().y0 >= bars


def test_labels_that_would_collide_are_left_out():
    _, axes, _ = drawn()
    axes.plot([0, 0.01, 0.02, 1], [0, 0, 1, 0])
    assert apart(axes, [(0, 0), (0.01, 0), (0.02, 1), (1, 0)]) == [0, 2, 3]


def test_each_seed_has_a_hollow_marker():
    _, axes, _ = drawn()
    draw_seeds(axes, {0.5: [1.0, 2.0], 3: [4.0]}, "red", "^", label="ours")
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[0.5, 1.0], [0.5, 2.0], [3, 4.0]]
    assert (line.get_marker(), line.get_fillstyle(), line.get_linestyle()) == ("^", "none", "None")
