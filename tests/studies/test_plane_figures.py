import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from ppl_vae.models.gmm import Gmm

from ppl_vae.studies.plane import Plane
from ppl_vae.studies.plane_figures import CODES, draw_codes, draw_density, mixed


def test_a_certain_code_has_its_colour_and_an_uncertain_one_a_mixture():
    colours = torch.tensor([to_rgb(colour) for colour in CODES.values()], dtype=torch.float64)
    torch.testing.assert_close(mixed(torch.eye(4)), colours)
    torch.testing.assert_close(mixed(torch.full((1, 4), 0.25)), colours.mean(0, keepdim=True))


def test_each_centre_lies_on_the_colour_of_its_code():
    truth = Gmm()
    plane = Plane(truth, 0.2)
    axes = Figure().subplots()
    decisions = torch.eye(4)[truth.posterior(plane.points)["z"].logits.argmax(1)]
    draw_codes(axes, plane, decisions, truth.centres, "decisions")
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    for (x, y), text, colour in zip(truth.centres.tolist(), axes.texts, CODES.values(), strict=True):
        row, column = (y - bottom) / (top - bottom), (x - left) / (right - left)
        height, width = image.get_array().shape[:2]
        shown = torch.tensor(image.get_array()[int(row * height), int(column * width)])
        palette = torch.tensor([to_rgb(each) for each in CODES.values()])
        nearest = (shown - palette).square().sum(1).argmin().item()
        assert list(CODES)[nearest] == text.get_text() and list(CODES.values())[nearest] == colour


def test_a_density_is_drawn_the_way_round_that_the_plane_has():
    plane = Plane(Gmm(), 0.5)
    axes = Figure().subplots()
    image = draw_density(axes, plane, plane.points[:, 1], 1.0, "second coordinate")
    rows = torch.tensor(image.get_array())
    assert (rows.diff(dim=0) >= 0).all() and (rows.diff(dim=1) == 0).all()
