"""What figures of experiments share."""

import pytest
import torch
from matplotlib.figure import Figure

from ppl_vae.studies.figures import draw_bars, draw_course, show_image_table, show_maps


def test_bars_reach_the_mean_over_seeds_and_say_where_they_are_cut():
    axes = Figure().subplots()
    draw_bars(axes, {"near": [1.0, 3.0], "far": [-9.0, -7.0]}, ["red", "blue"], least=-2.0, shift=0.1)
    assert [bar.get_width() for bar in axes.patches] == [2.0, -2.0]
    assert [text.get_text() for text in axes.texts] == [" -8"]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[1.0, 3.0], [-9.0, -7.0]]
    draw_bars(axes, {"near": [4.0], "far": [0.0]}, "green", shift=-0.1)
    assert axes.yaxis_inverted() and [label.get_text() for label in axes.get_yticklabels()] == ["near", "far"]
    assert len(axes.lines) == 2  # a single seed has no dot


def test_courses_have_a_band_between_the_seeds():
    axes = Figure().subplots()
    draw_course(axes, torch.tensor([[1.0, 2.0], [3.0, 6.0]]), 0, colour="red", label="both")
    assert axes.lines[0].get_ydata().tolist() == [2.0, 4.0]
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(6)
    draw_course(axes, torch.tensor([[1.0, 2.0]]), colour="red")
    assert axes.lines[1].get_xdata().tolist() == [1, 2] and len(axes.collections) == 1


def test_tables_and_maps_of_images():
    figure, images = Figure(), torch.rand(2, 3, 3)
    show_image_table(figure, {"data": [images], "pair": [images, images]}, ["means", "samples"])
    assert [axes.get_title() for axes in figure.axes] == ["", "", "means", "samples"]
    assert not figure.axes[1].axison
    figure = Figure()
    show_maps(figure, {"one": torch.full((2, 2), -1.0), "two": torch.full((2, 2), 3.0)}, "nats")
    assert {image.get_clim() for axes in figure.axes[:2] for image in axes.images} == {(-3.0, 3.0)}
