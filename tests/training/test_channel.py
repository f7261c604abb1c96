import cv2
import numpy as np
import torch

from hidemia.training.channel import to_uint8, transmit


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
