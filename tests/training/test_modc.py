import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hidemia.training.modc import CONVOLUTIONS, MoDC, difference_maps, expert_weights

DIAGONALS = ("literal5", "project")
KERNEL = torch.arange(1.0, 10.0)  # 1 2 3 / 4 5 6 / 7 8 9: row is dy, column is dx

# T_i of that kernel, worked by hand. Left diagonal: top left to bottom right.
BY_HAND = {
    "project": {
        0: [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
        1: [[0, 0, 0], [0, 45, 0], [0, 0, 0]],
        2: [[0, 0, 0], [12, 15, 18], [0, 0, 0]],
        3: [[0, 6, 0], [0, 15, 0], [0, 24, 0]],
        4: [[1 + 3, 0, 0], [0, 15 + 3 + 7, 0], [0, 0, 9 + 7]],
        5: [[0, 0, 3 + 4], [0, 15 + 4 + 6, 0], [7 + 6, 0, 0]],
    },
    "literal5": {
        4: [[1, 0, 0, 0, 0], [0, 6, 0, 0, 0], [0, 0, 15, 0, 0], [0, 0, 0, 14, 0], [0, 0, 0, 0, 9]],
        5: [[0, 0, 0, 0, 3], [0, 0, 0, 8, 0], [0, 0, 15, 0, 0], [0, 12, 0, 0, 0], [7, 0, 0, 0, 0]],
    },
}


def pixel(x: np.ndarray, column: int, row: int) -> np.ndarray:
    """x (C, H, W) at a position; outside it is 0."""
    inside = 0 <= row < x.shape[1] and 0 <= column < x.shape[2]
    return x[:, row, column] if inside else np.zeros(x.shape[0])


def sampled(x: np.ndarray, column: int, row: int, along: float, sign: int) -> np.ndarray:
    """x on the diagonal through a position, `along` steps from it; between two pixels their mean."""
    near = [int(np.floor(along)), int(np.ceil(along))]
    return sum(pixel(x, column + step, row + sign * step) for step in near) / 2


def read(i: int, x: np.ndarray, r: tuple[int, int], d: tuple[int, int], diagonals: str) -> np.ndarray:
    """What D_i multiplies w(d) with at position r, both (column, row).

    Networks correlate, so offsets are added where the paper subtracts them: its kernel is ours turned around.
    """
    (r_x, r_y), (d_x, d_y) = r, d
    if i <= 3:
        return pixel(x, r_x + d_x * (i in (0, 2)), r_y + d_y * (i in (0, 3)))
    if diagonals == "project":
        # The foot of (dx, dy) on the diagonal: its product with (1, 1) or (1, -1), over 2.
        sign = 1 if i == 4 else -1
        return sampled(x, r_x, r_y, (d_x + sign * d_y) / 2, sign)
    if i == 4:
        return pixel(x, r_x + (d_x + d_y), r_y + (d_x + d_y))
    return pixel(x, r_x + (d_x - d_y), r_y + (d_y - d_x))


def difference(i: int, x: np.ndarray, w: np.ndarray, diagonals: str) -> np.ndarray:
    """D_i of Eq. 2, position by position, offset by offset: (C, H, W), w (O, C, 3, 3) -> (O, H, W)."""
    out = np.zeros((w.shape[0], *x.shape[1:]))
    for r_y, r_x in np.ndindex(x.shape[1:]):
        for d_y, d_x in itertools.product((-1, 0, 1), repeat=2):
            out[:, r_y, r_x] += w[:, :, d_y + 1, d_x + 1] @ read(i, x, (r_x, r_y), (d_x, d_y), diagonals)
    return out


def make(shake, inputs: int = 3, outputs: int = 4, **options) -> MoDC:
    """A MoDC in float64 whose gate has opinions."""
    return shake(MoDC(inputs, outputs, **options), std=0.5).double()


@pytest.mark.parametrize("diagonals", DIAGONALS)
def test_kernels_by_hand(diagonals: str) -> None:
    maps = difference_maps(diagonals)
    side = 5 if diagonals == "literal5" else 3
    assert maps.shape == (6, side * side, 9)
    for i in range(6):
        expected = torch.tensor(BY_HAND[diagonals].get(i, BY_HAND["project"][i]), dtype=torch.float32)
        if expected.shape != (side, side):
            expected = F.pad(expected, (1, 1, 1, 1))
        assert torch.equal((maps[i] @ KERNEL).view(side, side), expected), CONVOLUTIONS[i]


@pytest.mark.parametrize("diagonals", DIAGONALS)
def test_sum_of_the_kernel_is_preserved(diagonals: str) -> None:
    assert torch.equal(difference_maps(diagonals).sum(dim=1), torch.ones(6, 9))


@pytest.mark.parametrize(("diagonals", "taps"), [("literal5", 13), ("project", 9)])
def test_live_taps(diagonals: str, taps: int) -> None:
    module = MoDC(1, 1, k=5, diagonals=diagonals)
    kernel = module.kernels(torch.full((1, 5), 0.2))[0, 0, 0]
    assert kernel.count_nonzero() == taps
    if diagonals == "literal5":
        live = {(int(row), int(column)) for row, column in kernel.nonzero()}
        square = {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}
        assert live == square | {(0, 0), (0, 4), (4, 0), (4, 4)}


@pytest.mark.parametrize("diagonals", DIAGONALS)
@pytest.mark.parametrize("i", [1, 2, 3, 4, 5])
def test_equation_2_position_by_position(i: int, diagonals: str, shake) -> None:
    module = make(shake, inputs=2, outputs=3, k=1, strength=0.3, diagonals=diagonals)
    module.expert_weights = lambda x: F.one_hot(torch.tensor([i - 1]), 5).double()
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64)
    w = module.weight.detach().numpy()
    expected = difference(0, x[0].numpy(), w, diagonals) - 0.3 * difference(i, x[0].numpy(), w, diagonals)
    np.testing.assert_allclose(module(x)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("i", "seen"),
    [
        # Where a lone pixel in the middle of 5x5 shows up in D_i: rows of the answer that are not all zero.
        (1, {(2, 2): 45}),
        (2, {(2, 1): 18, (2, 2): 15, (2, 3): 12}),
        (3, {(1, 2): 24, (2, 2): 15, (3, 2): 6}),
        (4, {(0, 0): 9, (1, 1): 14, (2, 2): 15, (3, 3): 6, (4, 4): 1}),
        (5, {(0, 4): 7, (1, 3): 12, (2, 2): 15, (3, 1): 8, (4, 0): 3}),
    ],
)
def test_impulse(i: int, seen: dict[tuple[int, int], float]) -> None:
    module = MoDC(1, 1, k=1, strength=1.0, diagonals="literal5").double()
    module.weight.data = KERNEL.double().view(1, 1, 3, 3)
    module.expert_weights = lambda x: F.one_hot(torch.tensor([i - 1]), 5).double()
    x = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[..., 2, 2] = 1
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for position, value in seen.items():
        expected[position] = value
    answer = F.conv2d(x, module.weight, padding=1) - module(x)
    assert torch.equal(answer[0, 0], expected)


@pytest.mark.parametrize("diagonals", DIAGONALS)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_equation_3_branch_by_branch(k: int, diagonals: str, shake) -> None:
    module = make(shake, k=k, diagonals=diagonals)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    delta = module.gate(x.mean(dim=(2, 3))).softmax(dim=1)
    kernels = torch.einsum("npk,oik->noip", module.maps, module.weight.flatten(2))
    six = kernels.unflatten(3, (module.side, module.side))
    branches = torch.stack([F.conv2d(x, kernel, padding=module.side // 2) for kernel in six], dim=1)
    expected = []
    for (plain, *differences), probabilities in zip(branches, delta, strict=True):
        chosen = probabilities.argsort(descending=True)[:k].tolist()
        total = sum(probabilities[i] for i in chosen)
        expected.append(plain - 0.5 * sum(probabilities[i] / total * differences[i] for i in chosen))
    assert (module(x) - torch.stack(expected)).abs().max() < 1e-12
    assert not torch.equal(delta[0], delta[1])  # every sample has its own kernel


def test_no_difference_is_a_plain_convolution() -> None:
    module = MoDC(3, 4, k=0)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(module(x), F.conv2d(x, module.weight, padding=1))
    assert [name for name, _ in module.named_parameters()] == ["weight"]


@pytest.mark.parametrize("diagonals", DIAGONALS)
def test_flat_ground_is_halved(diagonals: str, shake) -> None:
    module = make(shake, inputs=1, outputs=1, k=2, diagonals=diagonals)  # any gate: every T_i keeps the sum
    answer = module(torch.full((1, 1, 9, 9), 3.0, dtype=torch.float64))[0, 0, 2:-2, 2:-2]
    expected = torch.full((5, 5), 3 * 0.5 * module.weight.sum().item(), dtype=torch.float64)
    torch.testing.assert_close(answer, expected)


@pytest.mark.parametrize("candidates", [(1,), (1, 2), (1, 2, 3, 4, 5)])
def test_starts_as_the_plain_convolution_of_its_seed(candidates: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    plain = MoDC(4, 6, k=0)
    torch.manual_seed(3)
    fresh = MoDC(4, 6, k=len(candidates), candidates=candidates)
    equal = torch.full((1, len(candidates)), 1 / len(candidates))
    torch.testing.assert_close(fresh.kernels(equal)[0], plain.weight, atol=1e-6, rtol=1e-5)


def test_literal5_starts_near_the_plain_convolution_of_its_seed() -> None:
    """Its diagonals reach a 5x5, of which 9 numbers cannot choose all 25."""
    torch.manual_seed(3)
    plain = F.pad(MoDC(4, 6, k=0).weight, (1, 1, 1, 1))
    torch.manual_seed(3)
    fresh = MoDC(4, 6, k=5, diagonals="literal5")
    kernels = fresh.kernels(torch.full((1, 5), 0.2))[0]
    assert (kernels - plain).norm() < 0.2 * plain.norm()
    assert (kernels.sum(dim=(2, 3)) - plain.sum(dim=(2, 3))).norm() < 0.2 * plain.sum(dim=(2, 3)).norm()


def test_starts_where_a_kernel_can_have_no_sum() -> None:
    """lambda = 1 and one candidate: w - T(w) sums to zero whatever w is."""
    fresh = MoDC(4, 6, k=1, candidates=(1,), strength=1.0)
    assert fresh.weight.isfinite().all()
    torch.testing.assert_close(fresh.kernels(torch.ones(1, 1)).sum(dim=(3, 4)), torch.zeros(1, 6, 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("candidates", [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4, 5), (5, 2)])
def test_candidate_sets(candidates: tuple[int, ...], shake) -> None:
    k = min(2, len(candidates))
    module = make(shake, inputs=2, outputs=3, k=k, candidates=candidates)
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64)
    g = module.expert_weights(x)
    assert g.shape == (1, len(candidates))
    w = module.weight.detach().numpy()
    expected = difference(0, x[0].numpy(), w, "project")
    for i, share in zip(candidates, g[0].tolist(), strict=True):
        expected -= 0.5 * share * difference(i, x[0].numpy(), w, "project")
    np.testing.assert_allclose(module(x)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 4, 5])
def test_top_k(k: int) -> None:
    delta = torch.rand(64, 5).softmax(dim=1)
    g = expert_weights(delta, k)
    assert (g != 0).sum(dim=1).tolist() == [k] * 64
    if k == 0:
        return
    torch.testing.assert_close(g.sum(dim=1), torch.ones(64))
    for row, probabilities in zip(g, delta, strict=True):
        largest = set(probabilities.topk(k).indices.tolist())
        assert set(row.nonzero().flatten().tolist()) == largest
        kept = row[row > 0] / probabilities[row > 0]
        torch.testing.assert_close(kept, kept[:1].expand(k))  # in proportion to delta


def test_fresh_gate_never_ties() -> None:
    for seed in range(50):
        torch.manual_seed(seed)
        module = MoDC(4, 4, k=2)
        answers = [module.expert_weights(x) for x in (torch.zeros(1, 4, 3, 3), torch.randn(1, 4, 3, 3))]
        for g in answers:
            assert g.count_nonzero() == 2
            assert g.max() < 0.6  # near-equal at first
        assert not torch.equal(*answers)  # but the input already has a say


@pytest.mark.parametrize("diagonals", DIAGONALS)
def test_samples_do_not_mix(diagonals: str, shake) -> None:
    module = make(shake, diagonals=diagonals)
    x = torch.randn(5, 3, 8, 6, dtype=torch.float64)
    alone = torch.cat([module(sample[None]) for sample in x])
    assert (module(x) - alone).abs().max() < 1e-12


def test_gradients_reach_gate_and_weight(shake) -> None:
    module = make(shake, k=2)
    module(torch.randn(4, 3, 8, 8, dtype=torch.float64)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_experts_outside_the_top_k_learn_only_when_activated(shake) -> None:
    module = make(shake, k=2)
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    out = (module.expert_weights(x)[0] == 0).nonzero().flatten()

    def gradient() -> torch.Tensor:
        module.zero_grad()
        module(x).square().sum().backward()
        return module.gate[2].bias.grad[out]

    assert gradient().abs().max() < 1e-12
    module.active = 5
    assert gradient().abs().min() > 1e-6


def test_gradcheck(shake) -> None:
    module = make(shake, inputs=1, outputs=1)
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, x)


def test_gate_decides_in_float32_under_autocast(shake) -> None:
    module = shake(MoDC(3, 4), std=0.5)
    x = torch.randn(2, 3, 8, 8)
    g, answer = module.expert_weights(x), module(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module.expert_weights(x), g)
        assert module(x).dtype == torch.bfloat16
        torch.testing.assert_close(module(x).float(), answer, atol=0.1, rtol=0.05)


def test_maps_are_not_weights() -> None:
    assert set(MoDC(8, 4).state_dict()) == {
        "weight",
        "gate.0.weight",
        "gate.0.bias",
        "gate.2.weight",
        "gate.2.bias",
    }


def test_size_of_the_gate() -> None:
    for inputs, hidden in ((6, 8), (32, 8), (64, 16)):
        assert MoDC(inputs, 1).gate[0].out_features == hidden


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 6}, r"k: expected 0 to 5 \(the candidates\), got 6"),
        ({"k": -1}, "k: expected 0 to 5"),
        ({"k": 2, "candidates": (1,)}, "k: expected 0 to 1"),
        ({"candidates": (0, 1, 2)}, r"candidates: expected different numbers from 1 to 5, got \(0, 1, 2\)"),
        ({"candidates": (2, 2)}, "candidates: expected different numbers"),
        ({"diagonals": "left"}, "diagonals: expected 'project' or 'literal5', got 'left'"),
    ],
)
def test_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MoDC(1, 1, **options)
