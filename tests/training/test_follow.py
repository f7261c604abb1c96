import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from tests.training.test_stages import judging

from hidemia.training.data import Batch
from hidemia.training.guide import Guide
from hidemia.training.loop import StageRun
from hidemia.training.objective import Aids, Objective, StageConfig
from hidemia.training.plain import PlainNetwork
from hidemia.training.stages import OBJECTIVES
from hidemia.training.system import System
from hidemia.training.wavelet import dwt, split


def following(system: System, guide: PlainNetwork, **options) -> Objective:
    config = StageConfig("follow", 60, 4, 32, analyzer_rate=3e-3, **options)
    return OBJECTIVES["follow"](system, Aids(8, 2), config, Guide([guide]))


def test_features_follow_those_of_a_guide_that_stays() -> None:
    """What the guide sees is told after some steps, of one and the same batch; the guide itself learns nothing."""
    torch.manual_seed(0)
    guide, photos = PlainNetwork(4, 2, 2), torch.rand(4, 3, 32, 32)
    batch = Batch(photos, photos, None, torch.tensor([0, 1, 0, 1]), photos)
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    run = StageRun(following(judging(), guide), Fabric(accelerator="cpu", devices=1), seed=0)
    errors = [run.advance(lambda _: batch)["guide"].item() for _ in range(60)]
    assert errors[0] > 0.9  # nothing is told yet but their mean, if that
    assert errors[-1] < 0.5
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())
    assert not guide.training


def test_as_many_levels_are_told_as_both_have(batch: Batch) -> None:
    """By hand: the mean over levels of how far what is told lies from what is seen."""
    torch.manual_seed(0)
    for levels in (1, 2, 3):
        system, guide = judging(), PlainNetwork(4, levels, 2)
        objective = following(system, guide).eval()
        found = objective(batch._replace(stegos=batch.secrets), 0.0)["guide"]
        own = system.analyzer.features(split(dwt(batch.secrets))).levels[::-1]
        theirs = Guide([guide])(batch.secrets)[0]
        assert len(objective.told) == min(len(own), levels, 2)
        errors = []
        for tell, bands, (seen,) in zip(objective.told, own, theirs, strict=False):
            told = tell(torch.cat(list(bands.values()), dim=1))
            pooled = F.adaptive_avg_pool2d(seen, told.shape[2:])
            errors.append((told - pooled / pooled.std()).square().mean())
        torch.testing.assert_close(found, sum(errors) / len(errors))


def test_a_guide_whose_features_are_dead_can_be_followed(batch: Batch) -> None:
    guide = PlainNetwork(4, 2, 2)
    torch.nn.init.zeros_(guide.down[-1][-2].weight)
    torch.nn.init.zeros_(guide.down[-1][-2].bias)
    losses = following(judging(), guide).eval()(batch._replace(stegos=batch.secrets), 0.0)
    assert losses["guide"].isfinite()


def test_a_guide_may_see_on_another_grid_and_weigh_more(batch: Batch) -> None:
    torch.manual_seed(0)
    system, guide = judging(), PlainNetwork(4, 4, 2)  # its coarsest grid is 2x2, the analyzer's 8x8
    told = [following(system, guide, guide_weight=weight) for weight in (1.0, 3.0)]
    told[1].told.load_state_dict(told[0].told.state_dict())
    first, second = (objective.eval()(batch, 0.0)["guide"] for objective in told)
    torch.testing.assert_close(second, 3 * first)


def test_a_guide_sees_scans_as_it_learned_to(batch: Batch) -> None:
    """Under noise, where it learned under noise: what it would see without is not what it knows."""
    torch.manual_seed(0)
    objective = following(judging(), PlainNetwork(4, 2, 2)).eval()

    def seen(noise: float, seed: int) -> torch.Tensor:
        objective.guide.networks[0].noise = noise
        torch.manual_seed(seed)
        return objective(batch, 0.0)["guide"]

    assert seen(40.0, seed=1) == seen(40.0, seed=1)  # a resumed run draws the same
    assert len({seen(noise, seed).item() for noise, seed in ((40.0, 1), (40.0, 2), (0.0, 1))}) == 3
    assert seen(0.0, seed=1) == seen(0.0, seed=2)


def test_a_guides_answer_stands_in_the_labels_place(batch: Batch) -> None:
    """By hand: the cross entropy of what it takes the scans for; the label is not asked."""
    torch.manual_seed(0)
    system, guide = judging(), PlainNetwork(4, 2, 2)
    objective = following(system, guide).eval()
    labels = torch.arange(len(batch.secrets)) % 2
    told, other = (objective(batch._replace(labels=found, stegos=batch.secrets), 0.0) for found in (labels, 1 - labels))
    assert told["direct"] == other["direct"]
    with torch.no_grad():
        verdict = system.analyzer.features(split(dwt(batch.secrets))).verdict
        wanted = -(guide(batch.secrets).softmax(dim=1) * verdict.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(told["direct"].detach(), wanted)


def test_a_guide_can_be_asked_of_two_scans_side_by_side() -> None:
    assert following(judging(), PlainNetwork(4, 2, 2), pool=8, joined=True).config.joined
    with pytest.raises(ValueError, match="joined: expected False without a pool, and where one label is the truth"):
        OBJECTIVES["look"](judging(), Aids(8, 2), StageConfig("look", 1, 2, 32, pool=8, joined=True))


def test_who_cannot_show_features_is_not_followed(tiny_system) -> None:
    for teacher in (None, PlainNetwork(4, 2, 2), tiny_system().hider):
        got = f"Analyzer and {type(teacher).__name__}"
        with pytest.raises(ValueError, match=f"follow: expected our Analyzer and a Guide, got {got}"):
            OBJECTIVES["follow"](judging(), Aids(8, 2), StageConfig("follow", 1, 2, 32, analyzer_rate=1e-3), teacher)
