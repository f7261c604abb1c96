import dataclasses
from pathlib import Path

import msgspec
import pytest
import torch
from tests.training.test_command import FOLLOW, MICRO

from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.errors import TrainingError
from hidemia.training.plain import PlainConfig, matched, save_plain, vanilla
from hidemia.training.start import Start, fill, guide_of
from hidemia.training.weights import load_weights, save_weights

FOLLOWING = dataclasses.replace(MICRO, stages=(MICRO.stages[0], FOLLOW))
CONFIG = matched(MICRO.model)


def saved(folder: Path, config: PlainConfig = CONFIG) -> Path:
    save_plain(config.build(), config, folder)
    return folder


def test_the_guide_is_all_that_are_named(tmp_path: Path) -> None:
    guide = guide_of(FOLLOWING, Start(plain=(saved(tmp_path / "a"), saved(tmp_path / "b"))))
    assert guide is not None
    assert len(guide.networks) == 2


def test_none_is_needed_where_nothing_follows(tmp_path: Path) -> None:
    assert guide_of(MICRO, Start()) is None
    assert guide_of(FOLLOWING, Start(tmp_path, stage=3)) is None  # past the stage that does
    with pytest.raises(TrainingError, match=r"--plain: expected none, as micro follows no plain network, got .*; lea"):
        guide_of(MICRO, Start(plain=(tmp_path,)))
    with pytest.raises(TrainingError, match="--plain: expected a plain network, which micro follows, got none; name "):
        guide_of(FOLLOWING, Start())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (vanilla(MICRO.model, width=4), "got vanilla of micro; train plain-micro"),
        (
            dataclasses.replace(CONFIG, name="other", classes=("background", "other")),
            "which tells background, lesion, got bands of other; train plain-micro",
        ),
    ],
    ids=["network", "classes"],
)
def test_a_network_that_does_not_fit(tmp_path: Path, config: PlainConfig, message: str) -> None:
    with pytest.raises(TrainingError, match=f"expected a plain network of micro, .*{message}"):
        guide_of(FOLLOWING, Start(plain=(saved(tmp_path, config),)))


def test_networks_that_do_not_go_together(tmp_path: Path) -> None:
    deeper = saved(tmp_path / "deeper", dataclasses.replace(CONFIG, levels=CONFIG.levels + 1))
    with pytest.raises(TrainingError, match=r"--plain: guide: .*, got 2 kinds among .*deeper, .*; train them by comm"):
        guide_of(FOLLOWING, Start(plain=(deeper, saved(tmp_path / "plain"))))


def test_another_question_is_asked_of_what_reads_already(tmp_path: Path) -> None:
    """A model that tells classes starts from one that outlines: all is taken over, and the verdict alone is new."""
    outlines = dataclasses.replace(MICRO.model, analyzer=AnalyzerConfig(k=0, width=8, levels=1, attention_levels=1))
    save_weights(outlines.build(), outlines, tmp_path)
    tells = dataclasses.replace(
        outlines, task="classification", analyzer=msgspec.structs.replace(outlines.analyzer, classes=2)
    )
    system = tells.build()
    fresh = system.analyzer.verdict.linear.weight.clone()
    fill(system, tmp_path)
    earlier = load_weights(tmp_path)[0].state_dict()
    found = system.state_dict()
    assert all(torch.equal(found[name], value) for name, value in earlier.items())
    assert {name for name in found if name not in earlier} == {
        "analyzer.verdict.linear.weight", "analyzer.verdict.linear.bias",
    }  # fmt: skip
    assert torch.equal(system.analyzer.verdict.linear.weight, fresh)
