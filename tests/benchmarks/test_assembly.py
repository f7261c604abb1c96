import json

import msgspec

from hidemia.benchmarks import assembly
from hidemia.benchmarks.report.measurements import Model


def test_a_models_figures_are_read_back_without_the_scores_of_single_images(tmp_path):
    means = {"dsc": 0.7, "n_images": 2, "task": "segmentation"}
    (tmp_path / "figures.json").write_text(json.dumps(means | {"per_image": [0.6, 0.8]}))
    (model,) = assembly._models(tmp_path, [])
    assert model.figures == means
    assert msgspec.json.decode(msgspec.json.encode(model), type=Model) == model
