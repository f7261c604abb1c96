import json

import numpy as np
import pytest

from hidemia.benchmarks.compare import averaged, compared, confidence, main, spread
from hidemia.runtime.errors import DataError


def scored(values, labels=None):
    rows = [{"image": f"{i}.png", "score": float(value)} for i, value in enumerate(values)]
    return rows if labels is None else [row | {"label": label} for row, label in zip(rows, labels, strict=True)]


def test_how_sure_a_figure_is():
    """Twenty slices, ten right. By hand: of two patients, either may be drawn twice, and all are wrong, or right."""
    rows = scored([1] * 10 + [0] * 10)
    alone = confidence(rows)
    assert alone["n_groups"] == 20
    assert 0.2 < alone["lower_95"] < 0.35
    assert 0.65 < alone["upper_95"] < 0.8
    of_two = [row | {"group": group} for row, group in zip(rows, ["p"] * 10 + ["q"] * 10, strict=True)]
    assert confidence(of_two) == {"n_groups": 2, "lower_95": 0, "upper_95": 1}
    assert confidence([row | {"group": ""} for row in rows]) == alone  # no group: one of its own


def test_a_group_in_two_classes_is_two():
    rows = scored([1, 0, 1, 0], ["a", "a", "b", "b"])
    assert confidence([row | {"group": "p"} for row in rows]) == {"n_groups": 2, "lower_95": 0.5, "upper_95": 0.5}


def test_groups_are_compared_whole():
    """Twenty slices of two patients: a difference that one of them alone makes may as well be none."""
    ours, groups = scored([1] * 10 + [0] * 10), ["p"] * 10 + ["q"] * 10
    plain = scored([0] * 20)
    assert compared(ours, plain)["over_plain_lower_95"] > 0.2
    ours = [row | {"group": group} for row, group in zip(ours, groups, strict=True)]
    assert compared(ours, plain) == {"over_plain": 0.5, "over_plain_lower_95": 0}


def test_classes_count_alike():
    ours, labels = [1, 1, 1, 1, 0], ["often"] * 4 + ["rare"]
    assert compared(scored(ours, labels), scored([0] * 5, labels))["over_plain"] == 0.5
    assert compared(scored(ours), scored([0] * 5))["over_plain"] == 0.8


def test_other_images():
    with pytest.raises(DataError, match="expected the same images in the same order, got 2 beside 3"):
        compared(scored([1, 1, 1]), scored([1, 1]))


def test_seeds_by_hand():
    runs = [{"dsc": 0.5, "n_images": 2, "task": "segmentation"}, {"dsc": 0.7, "n_images": 2, "task": "segmentation"}]
    found = spread(runs)
    assert found == pytest.approx({"seeds": 2, "dsc": 0.6, "dsc_sd": 0.02**0.5, "dsc_least": 0.5, "dsc_most": 0.7})
    assert [row["score"] for row in averaged([scored([0, 1]), scored([1, 1])])] == [0.5, 1]


def test_by_command(tmp_path, capsys):
    draw, paths = np.random.default_rng(0), {}
    for name, level in (("a", 0.6), ("b", 0.7), ("plain", 0.8)):
        paths[name] = str(tmp_path / f"{name}.json")
        images = scored(level + draw.normal(0, 0.01, 30))
        figures = {"dsc": level, **confidence(images), "per_image": images}
        (tmp_path / f"{name}.json").write_text(json.dumps(figures))
    out = tmp_path / "out.json"
    assert main([paths["a"], paths["b"], "--plain", paths["plain"], "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["dsc"] == pytest.approx(0.65)
    assert found["over_plain"] == pytest.approx(-0.15, abs=0.01)
    assert found["over_plain_lower_95"] < found["over_plain"]
    assert len(found["per_image"]) == 30
    assert found["lower_95"] < found["dsc"] < found["upper_95"]
    assert not [key for key in found if "_95_" in key]  # of bounds there is no mean and no spread
    (tmp_path / "old.json").write_text('{"dsc": 0.5}')
    assert main([str(tmp_path / "old.json")]) == 2
    assert main([str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
