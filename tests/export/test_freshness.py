import json
import shutil
from types import SimpleNamespace

import pytest

from hidemia.export import freshness
from hidemia.export.command import export
from hidemia.export.freshness import code_sha256, export_key, is_fresh


@pytest.fixture(scope="module")
def exported(weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "micro"
    assert export(["--weights", str(weights), "--out", str(out), "--precision", "fp32"]) == 0
    return out


def times(out):
    return {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}


def test_a_second_export_does_nothing_and_says_so(weights, exported, capsys):
    before = times(exported)
    assert export(["--weights", str(weights), "--out", str(exported), "--precision", "fp32"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert times(exported) == before


def key_of(exported):
    return json.loads((exported / "client" / "measured.json").read_text())["key"]


def test_a_damaged_bundle_is_not_up_to_date(exported, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(exported, out)
    key = key_of(exported)
    assert is_fresh(out, key)
    assert not is_fresh(out, "0" * 64)
    (graph,) = (out / "server").glob("analyze.fp32.any.onnx")
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    assert not is_fresh(out, key)
    (out / "client" / "measured.json").write_text("no json")
    assert not is_fresh(out, key)
    assert not is_fresh(tmp_path / "nothing", key)


def test_the_key_follows_what_decides_the_result(weights, tmp_path):
    copy = tmp_path / "weights"
    shutil.copytree(weights, copy)
    key = export_key(copy, {"precisions": ["fp32"]})
    assert key == export_key(weights, {"precisions": ["fp32"]})
    (copy / "MODEL_CARD.md").write_text("words change nothing")
    (copy / "plain.json").write_text("{}")
    assert key == export_key(copy, {"precisions": ["fp32"]})
    assert key != export_key(copy, {"precisions": ["fp32", "fp16"]})
    assert key != export_key(copy, {"precisions": ["fp32"]}, [[{"image": "a.png", "split": "val"}]])
    (copy / "calibration.json").write_text("{}")
    assert key != export_key(copy, {"precisions": ["fp32"]})


def test_the_codes_version_is_its_modules(tmp_path, monkeypatch):
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "__init__.py").write_text("1")
    monkeypatch.setattr(freshness, "import_module", lambda name: SimpleNamespace(__file__=str(layer / "__init__.py")))
    first = code_sha256(["layer"])
    (layer / "notes.md").write_text("no code")
    assert code_sha256(["layer"]) == first
    (layer / "__init__.py").write_text("2")
    assert code_sha256(["layer"]) != first
