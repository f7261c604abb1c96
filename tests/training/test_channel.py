import cv2
import numpy as np
import pytest
import torch

from hidemia.runtime import veil
from hidemia.training.channel import FIRST_FREE, MOST_REACH, Reach, held, to_uint8, transmit, veiled


def through_png(image: torch.Tensor) -> torch.Tensor:
    """What the other side reads, by a real PNG: (B, 3, H, W) in [0, 1] -> the same."""
    received = []
    for pixels in image.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
        done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
        assert done
        received.append(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].copy())
    return torch.from_numpy(np.stack(received)).permute(0, 3, 1, 2).float() / 255


def test_is_what_a_png_carries() -> None:
    image = torch.rand(2, 3, 64, 64) * 1.4 - 0.2  # also what has to be clipped
    assert torch.equal(transmit(image), through_png(image))


def test_every_level_exactly() -> None:
    near = torch.linspace(-0.5, 1.5, 200_001).view(1, 1, 1, -1)
    far = torch.tensor([-1e6, -300.0, -1e-30, 0.0, 1e-30, 2.7, 3.3, 1234.5, 1e6]).view(1, 1, 1, -1)
    levels = torch.arange(256) / 255
    assert torch.equal(transmit(near).unique(), levels)
    assert torch.equal(transmit(far).flatten(), torch.tensor([0.0] * 5 + [1.0] * 4))
    assert torch.equal(transmit(levels), levels)


def test_gradient_passes_straight_through() -> None:
    image = torch.tensor([-0.7, 0.1234, 0.5, 1.9], requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 3.0, 4.0])
    (transmit(image) * weights).sum().backward()
    assert torch.equal(image.grad, weights)


def test_to_uint8_agrees() -> None:
    image = torch.rand(1, 3, 32, 32) * 1.4 - 0.2
    assert to_uint8(image).dtype == torch.uint8
    assert torch.equal(to_uint8(image).float() / 255, transmit(image))
    assert to_uint8(torch.tensor([-1.0, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 9.0])).tolist() == [
        0,
        0,
        0,
        1,
        255,
        255,
    ]


def test_held_by_hand() -> None:
    """100 levels, and replies 0 to 3 levels away, held to 1 in blue and to none else; rounding comes after."""
    stego = torch.full((1, 3, 1, 6), 100 / 255)
    reply = torch.tensor([97.0, 99.4, 100.0, 100.6, 101.0, 103.0]).expand(1, 3, 1, 6) / 255
    red, green, blue = held(reply, stego, Reach(1, "blue"))[0, :, 0] * 255
    assert red.tolist() == green.tolist() == pytest.approx([100] * 6)
    assert blue.tolist() == pytest.approx([99, 99.4, 100, 100.6, 101, 101])
    assert to_uint8(held(reply, stego, Reach(1, "blue")))[0, 2, 0].tolist() == [99, 99, 100, 101, 101, 101]
    for colour in to_uint8(held(reply, stego, Reach(2)))[0, :, 0]:
        assert colour.tolist() == [98, 99, 100, 101, 101, 102]


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_no_level_is_further_than_the_reach_from_any_other(reach) -> None:
    stego = (torch.arange(256) / 255)[:, None].expand(1, 3, 256, 401)
    reply = stego + torch.linspace(-0.1, 0.1, 401)
    for colours, others in (("blue", 0), ("all", reach)):
        apart = to_uint8(held(reply, stego, Reach(reach, colours))).int() - to_uint8(stego).int()
        assert apart.abs().amax(dim=(0, 2, 3)).tolist() == [others, others, reach]


def test_what_is_cut_off_gets_no_gradient() -> None:
    stego = torch.full((1, 3, 1, 2), 0.5)
    reply = torch.tensor([0.502, 0.7]).expand(1, 3, 1, 2).clone().requires_grad_()
    held(reply, stego, Reach(1, "blue")).sum().backward()
    assert reply.grad[0, :, 0].tolist() == [[0, 0], [0, 0], [1, 0]]


def test_training_knows_the_veil_that_devices_know() -> None:
    assert (MOST_REACH, FIRST_FREE) == (veil.MOST_REACH, veil.FIRST_FREE)


@pytest.mark.parametrize("colours", ["all", "blue"])
@pytest.mark.parametrize("reach", [1, 3])
def test_what_training_takes_to_travel_is_what_travels(reach, colours) -> None:
    """Against the runtime's windows: all of their levels, and no other."""
    stego = torch.arange(256, dtype=torch.uint8)[:, None].expand(1, 3, 256, 400)
    window = veil.Veil(reach=reach, colours=colours, key=64 * "0")
    low = veil.lowest(stego[0].permute(1, 2, 0).numpy(), window).transpose(2, 0, 1)
    draw = torch.Generator().manual_seed(0)
    first, second = (veiled(stego / 255, Reach(reach, colours), draw) for _ in range(2))
    still, free = Reach(reach, colours).parts(to_uint8(first))
    assert torch.equal(still, Reach(reach, colours).parts(stego)[0])
    for row in (free[0].numpy().astype(int) - low).reshape(-1, 400):
        assert np.unique(row).tolist() == list(range(2 * reach + 1))
    assert not torch.equal(first, second)
