import json
from pathlib import Path

import msgspec
import pytest
from tests.sample_report import timing

from hidemia.benchmarks import assembly
from hidemia.benchmarks.assembly import Group, Plan
from hidemia.benchmarks.latency import rivals
from hidemia.benchmarks.latency.worker import COPY_BYTES
from hidemia.benchmarks.report.document import Model
from hidemia.benchmarks.timing import PRODUCT_SIDE


def plan(**changes):
    settings = {"client": Path(), "server": Path(), "weights": Path(), "probes": [], "real": False, "threads": 2,
                "quick": False, "rounds": 40, "warm_up": 3, "trips": 1}  # fmt: skip
    return Plan(**(settings | changes))


def test_the_whole_report_has_every_verb_on_one_thread_and_on_all():
    found = assembly.groups(plan())
    assert len({group.name for group in found}) == len(found) == 6 + 8
    assert Group("hide", 1, 1, 40) in found
    assert Group("analyze", 2, 2, 20) in found
    assert Group("recover", 8, 2, 10) in found
    assert {group.batch for group in found if group.verb != "analyze" or group.threads == 1} == {1, 8}
    assert len(assembly.groups(plan(threads=1))) == 8


def test_a_quick_report_has_every_verb_once():
    found = assembly.groups(plan(quick=True, rounds=5))
    assert found == [
        Group("hide", 1, 2, 5),
        Group("analyze", 1, 2, 5),
        Group("recover", 1, 2, 5),
        Group("analyze", 8, 2, 5),
    ]


def test_the_machines_limits_are_the_best_of_all_groups():
    product = [timing("limit", times, rival="matrix product", graph="") for times in ((20.0, 30.0), (10.0, 30.0, 40.0))]
    copy = [timing("limit", (50.0, 40.0), rival="copy", graph="")]
    (found,) = assembly.limits([timing(), *product, *copy])
    assert found.threads == 2
    assert found.product_gflops == round(2 * PRODUCT_SIDE**3 / 0.010 / 1e9, 1)
    assert found.copy_gb_s == round(2 * COPY_BYTES / 0.040 / 1e9, 2)
    assert found.unsteadiness == 3.0  # the median of five is 30, the best 10


def test_without_a_compiler_there_is_a_row_that_says_so(monkeypatch):
    monkeypatch.setattr(rivals.shutil, "which", lambda _: None)
    ways = {rival.way: rival.reason for rival in rivals.of_torch(Path("w"), "hide", 1, 1, quick=False)}
    assert ways.pop("compiled") == "torch.compile needs a C++ compiler, and there is none"
    assert ways == {"eager": "", "channels-last": ""}
    monkeypatch.setattr(rivals.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not any(rival.reason for rival in rivals.of_torch(Path("w"), "hide", 1, 1, quick=False))


@pytest.mark.parametrize(
    ("batch", "left"), [(1, ["channels-last", "compiled"]), (8, ["eager", "channels-last", "compiled"])]
)
def test_a_quick_report_leaves_most_of_pytorch_out(batch, left):
    found = rivals.of_torch(Path("w"), "analyze", batch, 1, quick=True)
    assert [rival.way for rival in found if rival.reason] == left


def test_a_models_figures_are_read_back_without_the_scores_of_single_images(tmp_path):
    means = {"dsc": 0.7, "n_images": 2, "task": "segmentation"}
    (tmp_path / "figures.json").write_text(json.dumps(means | {"per_image": [0.6, 0.8]}))
    (model,) = assembly._models(tmp_path, [])
    assert model.figures == means
    assert msgspec.json.decode(msgspec.json.encode(model), type=Model) == model
