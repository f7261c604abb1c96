import json

import numpy as np
import pytest

from hidemia.benchmarks.compare import averaged, compared, main, paired_bootstrap, spread
from hidemia.runtime.errors import DataError


def scored(values, labels=None):
    rows = [{"image": f"{i}.png", "score": float(value)} for i, value in enumerate(values)]
    return rows if labels is None else [row | {"label": label} for row, label in zip(rows, labels, strict=True)]


def test_no_difference_is_none():
    assert paired_bootstrap(np.zeros(10), [""] * 10) == (0, 0)
    assert paired_bootstrap(np.full(10, -0.03), [""] * 10) == pytest.approx((-0.03, -0.03))


def test_the_bound_covers_what_it_says():
    """Of many samples with a true mean of 0, about 5 % put their lower bound above it."""
    draw = np.random.default_rng(3)
    samples = [draw.normal(0, 1, 40) for _ in range(300)]
    above = np.mean([paired_bootstrap(sample, [""] * 40, rounds=500)[1] > 0 for sample in samples])
    assert 0.01 <= above <= 0.11


def test_the_bound_is_that_of_the_normal_law():
    draw = np.random.default_rng(4)
    sample = draw.normal(0.2, 1, 400)
    mean, lower = paired_bootstrap(sample, [""] * 400)
    assert mean == sample.mean()
    assert lower == pytest.approx(mean - 1.645 * sample.std() / 20, abs=0.01)


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
        (tmp_path / f"{name}.json").write_text(json.dumps({"dsc": level, "per_image": images}))
    out = tmp_path / "out.json"
    assert main([paths["a"], paths["b"], "--plain", paths["plain"], "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["dsc"] == pytest.approx(0.65)
    assert found["over_plain"] == pytest.approx(-0.15, abs=0.01)
    assert found["over_plain_lower_95"] < found["over_plain"]
    assert len(found["per_image"]) == 30
    (tmp_path / "old.json").write_text('{"dsc": 0.5}')
    assert main([str(tmp_path / "old.json")]) == 2
    assert main([str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
