from __future__ import annotations

import json

import pytest

from hidemia.export.inspection import layer_types, require
from hidemia.runtime.errors import ExportError


def layer(kind: str, datatype: str, name: str = "conv", **more) -> dict:
    tensor = {"Name": "x", "Format/Datatype": datatype}
    return {"Name": name, "LayerType": kind, "Inputs": [tensor], "Outputs": [], **more}


def text(*layers) -> str:
    return json.dumps({"Layers": list(layers), "Bindings": []})


@pytest.mark.parametrize(
    ("datatype", "kind"),
    [
        ("Half", "fp16"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Two wide channel vectorized row major FP16 format", "fp16"),
        ("Float", "fp32"),
        ("Row major linear FP32", "fp32"),
        ("Int8", "int8"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("BFloat16", "other"),
        ("FP8", "other"),
        ("Int32", "other"),
    ],
)
def test_types_in_tensorrts_words(datatype, kind):
    assert layer_types(text(layer("CaskConvolution", datatype)))[0] == {kind: 1}


def test_only_layers_that_do_the_work_count():
    layers = [layer("CaskConvolution", "Half"), layer("Reformat", "Float"), layer("PointWiseV2", "Float")]
    assert require(text(*layers), "fp16", [], "x") == {"fp16": 1}
    assert require(text(layer("PointWiseV2", "Half")), "fp16", [], "x") == {"fp16": 1}


@pytest.mark.parametrize(
    "kept",
    [
        layer("CaskConvolution", "Float", "a + b"),
        layer("correlation", "Float", "a_myl0_1", Metadata="[ONNX Layer: b]\x1e[ONNX Layer: c]"),
    ],
)
def test_nodes_kept_in_fp32_count_apart(kept):
    free, pinned = layer_types(text(layer("CaskConvolution", "Half"), kept), ["a", "b", "c"])
    assert (free, pinned) == ({"fp16": 1}, {"fp32": 1})
    assert require(text(layer("CaskConvolution", "Half"), kept, kept), "fp16", ["a", "b", "c"], "x") == {
        "fp16": 1,
        "fp32": 2,
    }


def test_a_layer_fused_of_both_kinds_is_free():
    fused = layer("CaskConvolution", "Half", "conv + add")
    assert require(text(fused), "fp16", ["add"], "x") == {"fp16": 1}


def test_a_name_that_only_begins_alike_is_not_kept():
    assert layer_types(text(layer("CaskConvolution", "Half", "conv_10")), ["conv_1"])[0] == {"fp16": 1}


@pytest.mark.parametrize(
    ("precision", "datatypes"),
    [
        ("fp16", ["Float"]),
        ("fp16", ["Half", "Float", "Float"]),
        ("int8", ["Half", "Half"]),
        ("fp32", ["Float", "Float", "Float", "Half"]),
        ("fp32", ["Int8"]),
    ],
)
def test_another_precision_is_refused(precision, datatypes):
    with pytest.raises(ExportError, match=f"x: expected its layers in {precision}, got .*no plan was written"):
        require(text(*(layer("CaskConvolution", datatype) for datatype in datatypes)), precision, [], "x")


@pytest.mark.parametrize(
    "bad", ["", "{}", "[]", '{"Layers": []}', '{"Layers": ["conv"]}', '{"Layers": [{}, "x"]}', "null"]
)
def test_without_details_nothing_is_believed(bad):
    with pytest.raises(ExportError, match="inspector: expected every layer with its types, got none"):
        require(bad, "fp32", [], "x")
