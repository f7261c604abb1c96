import dataclasses

import pytest

from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.channel import Reach
from hidemia.training.heads import ClassificationHead, SegmentationHead
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.pairs import HIDERS, PAIRS, RIVALS, pair
from hidemia.training.recipes import BUSI, PAPER, RECIPES
from hidemia.training.stages import OBJECTIVES

SMALL = {"hider": HiderConfig(blocks=3, growth=4), "analyzer": AnalyzerConfig(width=8, levels=2)}


def test_names() -> None:
    assert {"busi", "paper"} <= set(RECIPES)
    for name, recipe in RECIPES.items():
        assert recipe.model.name == name


@pytest.mark.parametrize("name", RECIPES)
def test_stages_can_run(name: str) -> None:
    recipe = RECIPES[name]
    for stage in recipe.stages:
        objective = OBJECTIVES[stage.objective]
        assert stage.size_px % 2 ** getattr(recipe.model.analyzer, "levels", 4) == 0
        assert stage.size_px <= recipe.model.image_size_px  # covers are kept at that size
        assert stage.steps > 0
        assert (stage.hider_rate > 0) == objective.trains_hider
        assert (stage.analyzer_rate > 0) == (objective.trains_analyzer or stage.objective == "seal")


def test_a_model_has_the_veil_that_it_learned_last_under() -> None:
    veiled = {name: recipe.model.reach for name, recipe in RECIPES.items() if recipe.model.reach}
    assert veiled == {"busi-s": Reach(1, "blue"), "kvasir": Reach(1), "skin": Reach(1), "chestct": Reach(1)}
    recipe = RECIPES["busi-s"]
    for other in ({"veil_reach": None}, {"veil_reach": 2}, {"veil_colours": "all"}):
        with pytest.raises(ValueError, match="busi-s: expected its last stage under no veil or that of the model"):
            dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **other))
    assert recipe.model.build().reach == Reach(1, "blue")
    with pytest.raises(ValueError, match="reach: expected 1 to 16 levels in all colours or blue, got 17 in blue"):
        dataclasses.replace(recipe.model, veil_reach=17).build()


def test_shipped_model() -> None:
    system = BUSI.model.build()
    assert sum(parameter.numel() for parameter in system.hider.parameters()) == 1_012_560
    analyzer = system.analyzer.config
    assert (analyzer.width, analyzer.levels, analyzer.k, analyzer.diagonals) == (16, 4, 2, "project")
    assert (analyzer.residual, analyzer.attention, analyzer.attention_levels) == ("all", "asymmetric", 2)
    assert isinstance(system.head, SegmentationHead)


def test_paper_settings() -> None:
    analyzer = PAPER.model.analyzer
    assert (analyzer.k, analyzer.strength, analyzer.diagonals) == (2, 0.5, "literal5")
    assert (analyzer.scale, analyzer.attention, analyzer.residual) == ("sqrt_n", "asymmetric", "ll")
    assert PAPER.model.form == "printed"
    assert {stage.batch for stage in PAPER.stages} == {8}
    assert {stage.size_px for stage in PAPER.stages} == {224}
    assert [(stage.objective, stage.teacher) for stage in PAPER.stages] == [
        ("hide", True), ("analyze_frozen", True), ("distill_functions", False), ("fine_tune", False),
    ]  # fmt: skip
    _, first, second, third = PAPER.stages
    assert (first.analyzer_rate, second.hider_rate, third.hider_rate, third.analyzer_rate) == (5e-4, 1e-4, 1e-5, 1e-5)
    assert (first.reply_weight, second.distill_weights, third.reply_weight) == (200, (800, 800, 4), 200)
    assert third.stego_weight == 0
    assert sum(parameter.numel() for parameter in PAPER.teacher.build().parameters()) == 4_050_240


@pytest.mark.parametrize(("name", "classes"), [("skin", 7), ("chestct", 4)])
def test_classification_recipes(name: str, classes: int) -> None:
    model = RECIPES[name].model
    assert model.task == "classification"
    assert len(model.classes) == classes
    assert list(model.classes) == sorted(model.classes)  # as a data set's are


def test_seals_tell_models_apart() -> None:
    seals = [recipe.model.seal for recipe in RECIPES.values() if recipe.model.seal is not None]
    assert len(set(seals)) == len(seals)


def test_segmentation_is_built_as_configured() -> None:
    system = ModelConfig("m", form="centred", **SMALL).build()
    assert len(system.hider.blocks()) == 3
    assert system.hider.inv1.f.conv1.out_channels == 4
    assert system.analyzer.config.width == 8
    assert isinstance(system.head, SegmentationHead)
    assert system.head.form == "centred"


def test_classification_is_built_as_configured() -> None:
    system = ModelConfig("m", "classification", ("a", "b", "c", "d"), head="pooled", **SMALL).build()
    assert isinstance(system.head, ClassificationHead)
    assert system.head.linear.out_features == 4


@pytest.mark.parametrize("other", [{"task": "segmentation"}, {"head": "pooled"}, {"classes": ("a", "b", "c")}])
def test_a_verdict_is_written_where_it_is_read(other: dict[str, object]) -> None:
    analyzer = AnalyzerConfig(width=8, levels=2, classes=2)
    fitting = {"task": "classification", "classes": ("a", "b"), "analyzer": analyzer}
    assert ModelConfig("m", **fitting).build().analyzer.verdict.linear.out_features == 2
    with pytest.raises(ValueError, match=r"analyzer\.classes: expected (None|3), .* got 2"):
        ModelConfig("m", **(fitting | other)).build()


def test_the_twelve_rival_pairs() -> None:
    names = [recipe.model.name for recipe in PAIRS]
    assert len(set(names)) == 12
    hiders = set(HIDERS) - {"lightih"}
    assert set(names) == {f"{a}-{h}" for a in ("unet", "transunet", "xnet", "cmunext") for h in hiders}
    for recipe in PAIRS:
        assert RECIPES[recipe.model.name] is recipe
        assert recipe.model.seal is None


@pytest.mark.parametrize(("hider", "parameters"), [("hinet", 4_050_240), ("lightih", 1_012_560), ("hidden", 582_342)])
def test_a_pair_has_the_published_networks(hider: str, parameters: int) -> None:
    system = pair("cmunext", hider).model.build()
    assert sum(parameter.numel() for parameter in system.hider.parameters()) == parameters
    assert sum(parameter.numel() for parameter in system.analyzer.parameters()) == 3_149_219


def test_sizes_that_a_rival_cannot_take() -> None:
    for analyzer in RIVALS.values():
        with pytest.raises(ValueError, match="image_size_px: expected a multiple of 16, got 40"):
            ModelConfig("m", analyzer=analyzer, image_size_px=40).build()
