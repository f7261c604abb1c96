import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.micro import micro_config, micro_system
from torch import nn

from hidemia.export.graphs import Analyze, Hide, Recover
from hidemia.export.lint import check, problems
from hidemia.export.writing import store_in_half, to_onnx
from hidemia.runtime.errors import ExportError
from hidemia.training.analyzer import AnalyzerConfig


@pytest.fixture(scope="module")
def system():
    return micro_system(micro_config())


def photo(batch, seed):
    return torch.randint(0, 256, (batch, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_hide_serves_any_batch(system, batch):
    module = Hide(system, "direct", 64).eval()
    data = to_onnx(module, (photo(2, 0), photo(2, 1)), ["secret", "cover"], ["stego"], dynamic=True)
    secret, cover = photo(batch, 2), photo(batch, 3)
    (got,) = onnxruntime.InferenceSession(data).run(None, {"secret": secret.numpy(), "cover": cover.numpy()})
    with torch.no_grad():
        expected = module(secret, cover).numpy()
    assert got.dtype == np.uint8
    assert got.shape == (batch, 64, 64, 3)
    assert (got == expected).mean() > 0.999
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_recover_pairs_each_reply_with_its_stego(system):
    module = Recover(system, "direct", 64).eval()
    names = ["probability", "seal"]
    data = to_onnx(module, (photo(2, 0), photo(2, 1)), ["reply", "sent"], names, dynamic=True)
    reply, sent = photo(3, 4), photo(3, 5)
    got = onnxruntime.InferenceSession(data).run(names, {"reply": reply.numpy(), "sent": sent.numpy()})
    with torch.no_grad():
        one_by_one = [module(reply[i : i + 1], sent[i : i + 1]) for i in range(3)]
    for output, expected in zip(got, zip(*one_by_one, strict=True), strict=True):
        np.testing.assert_allclose(output, torch.cat(expected).numpy(), atol=1e-3)
    assert got[1].shape == (3, 8, 8)


def test_a_model_without_a_seal_gives_a_result_alone():
    config = micro_config(analyzer=AnalyzerConfig(width=8, levels=2, attention_levels=1))
    assert len(Recover(micro_system(config), "direct", 64)(photo(1, 0), photo(1, 1))) == 1


def test_the_result_of_an_unchanged_photo_is_known(system):
    same = photo(1, 0)
    probability, seal = Recover(system, "direct", 64).eval()(same, same)
    torch.testing.assert_close(probability, torch.full_like(probability, 1 / (1 + np.e)), atol=1e-5, rtol=0)
    torch.testing.assert_close(seal, torch.zeros_like(seal), atol=1e-4, rtol=0)


def test_deterministic_opset_names(system):
    def write():
        return to_onnx(Analyze(system, "any", 64), (photo(2, 0),), ["stego"], ["reply"], dynamic=True)

    data = write()
    assert data == write()
    model = onnx.load_from_string(data)
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert all(node.name and not node.doc_string for node in model.graph.node)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_store_in_half_is_exact_and_only_where_exact():
    exact = np.arange(1024, dtype=np.float32) / 8
    inexact = exact + np.float32(1e-4)
    nodes = [helper.make_node("Add", ["x", name], [f"y{name}"], name=name) for name in ("exact", "inexact")]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1024])],
            [helper.make_tensor_value_info(f"y{name}", TensorProto.FLOAT, [1024]) for name in ("exact", "inexact")],
            [numpy_helper.from_array(exact, "exact"), numpy_helper.from_array(inexact, "inexact")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    store_in_half(model)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds == {"exact.half": TensorProto.FLOAT16, "inexact": TensorProto.FLOAT}
    x = np.zeros(1024, np.float32)
    got = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(got[0], exact)
    np.testing.assert_array_equal(got[1], inexact)


class WritesInPlace(nn.Module):
    def forward(self, x):
        y = x.float().clone()
        y[:, 0] = 1.0
        return y


class AsksForShapes(nn.Module):
    def forward(self, x):
        return x.float() / x.shape[0]


class Draws(nn.Module):
    def forward(self, x):
        return x.float() + torch.randn(2, 64, 64, 3)


class MovesPhotos(nn.Module):
    def forward(self, x):
        return x.permute(0, 3, 1, 2).float()


class GivesMovedPhotos(nn.Module):
    def forward(self, x):
        return (x.float() / 2).to(torch.uint8).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("module", "word"),
    [
        (WritesInPlace(), "S"),
        (AsksForShapes(), "Shape"),
        (Draws(), "Random"),
        (MovesPhotos(), "Transpose of a uint8 photo; cast it before or after"),
        (GivesMovedPhotos(), "Transpose of a uint8 photo; cast it before or after"),
    ],
)
def test_lint_refuses_what_hurts_later(module, word):
    with pytest.raises(ExportError, match=word):
        to_onnx(module, (photo(2, 0),), ["x"], ["y"], dynamic=True)


def test_lint_names_every_problem():
    node = helper.make_node("If", ["c"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", [], []), opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    found = problems(model)
    assert [word for word in ("If", "no name", "opset", "IR version") if any(word in line for line in found)] == [
        "If", "no name", "opset", "IR version",
    ]  # fmt: skip
    with pytest.raises(ExportError, match="4 problems in all"):
        check(model)
