from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hidemia.runtime import photo
from hidemia.runtime.scaling import Scaling

SIDES = st.integers(32, 900)
NETWORKS = st.sampled_from([32, 64, 224])


def test_by_hand():
    scaling = Scaling(448, 112, 224)
    assert (scaling.scale_x, scaling.scale_y) == (0.5, 2.0)
    assert scaling.to_image(0, 0) == (-0.25, 0.5)
    assert scaling.to_image(223, 223) == (111.25, 446.5)
    assert scaling.to_network(111.25, 446.5) == (223, 223)


@pytest.mark.parametrize(
    ("size", "interpolation", "mask"),
    [
        ((64, 64), "none", "none"),
        ((65, 64), "area", "nearest"),
        ((63, 64), "linear", "nearest"),
        ((400, 33), "area, linear", "nearest"),
    ],
)
def test_interpolation(size, interpolation, mask):
    scaling = Scaling(*size, 64)
    assert (scaling.interpolation, scaling.mask_interpolation) == (interpolation, mask)


@settings(deadline=None)
@given(SIDES, SIDES, NETWORKS, st.floats(-0.5, 1000), st.floats(-0.5, 1000))
def test_there_and_back(height, width, network, x, y):
    scaling = Scaling(height, width, network)
    assert scaling.to_image(*scaling.to_network(x, y)) == pytest.approx((x, y), abs=1e-9)


@settings(deadline=None)
@given(SIDES, SIDES, NETWORKS)
def test_corners_meet(height, width, network):
    scaling = Scaling(height, width, network)
    assert scaling.to_image(-0.5, -0.5) == (-0.5, -0.5)
    assert scaling.to_image(network - 0.5, network - 0.5) == pytest.approx((width - 0.5, height - 0.5))


@settings(deadline=None)
@given(SIDES, SIDES, NETWORKS, st.randoms(use_true_random=False))
def test_a_mask_is_scaled_as_it_says(height, width, network, random):
    """Every pixel of the scaled mask is the one of the network's whose area holds its centre."""
    mask = np.random.default_rng(random.getrandbits(32)).integers(0, 2, (network, network)).astype(np.uint8) * 255
    scaled = photo.scale_mask(mask, (height, width))
    assert scaled.shape == (height, width)
    scaling = Scaling(height, width, network)
    for y, x in zip((0, height // 3, height - 1), (width - 1, width // 2, 0), strict=True):
        column, row = scaling.to_network(x, y)
        near = [
            mask[
                int(np.clip(np.floor(row + 0.5 + dy), 0, network - 1)),
                int(np.clip(np.floor(column + 0.5 + dx), 0, network - 1)),
            ]
            for dx in (-1e-6, 1e-6)
            for dy in (-1e-6, 1e-6)  # a centre may lie on the border of two
        ]
        assert scaled[y, x] in near


@settings(deadline=None, max_examples=50)
@given(SIDES, SIDES, NETWORKS)
def test_an_image_is_scaled_as_it_says(height, width, network):
    """A ramp stays the ramp: the value at a point of the square is the value at that point of the image."""
    ramp = np.rint(np.linspace(40, 215, width)).astype(np.uint8)
    fitted = photo.fit(np.tile(ramp[None, :, None], (height, 1, 3)), network)
    assert fitted.shape == (network, network, 3)
    scaling = Scaling(height, width, network)
    for x in (network // 4, network // 2, network - network // 4):
        there, _ = scaling.to_image(x, 0)
        expected = 40 + 175 * there / (width - 1)
        assert fitted[network // 2, x, 0] == pytest.approx(expected, abs=2.5 + 175 / width)


def test_the_result_says_it(client, server, tiny, rng):
    sent = client.hide(tiny.secret(100, 50), tiny.photo(rng))
    reply = server.analyze(sent)
    assert client.recover(reply, sent=sent, size=(100, 50)).scaling == Scaling(100, 50, 64)
    assert client.recover(reply, sent=sent).scaling == Scaling(64, 64, 64)
