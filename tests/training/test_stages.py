import dataclasses

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from tests.micro import micro_config, micro_system

from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.channel import Reach, transmit
from hidemia.training.data import Batch
from hidemia.training.heads import ClassificationHead
from hidemia.training.invertible import HiderConfig
from hidemia.training.loop import StageRun
from hidemia.training.losses import even_loss, mia_loss, ssim_loss
from hidemia.training.model import ModelConfig
from hidemia.training.objective import Aids, Objective, StageConfig
from hidemia.training.roles import Features
from hidemia.training.stages import OBJECTIVES
from hidemia.training.system import System
from hidemia.training.wavelet import dwt, split

NAMES = {
    "hide": {"stego", "low", "recover"},
    "read": {"direct", "reconstruct", "stego", "recover"},
    "look": {"direct", "reconstruct"},
    "joint": {"task", "direct", "reconstruct", "stego", "reply", "recover"},
    "answer": {"task", "direct", "reconstruct", "reply"},
}


@pytest.fixture
def make(tiny_system, shake):
    """An objective on a shaken system, frozen as the loop freezes it."""

    def build(name: str, classes: int | None = None, **options) -> Objective:
        system = shake(tiny_system(), std=0.05)
        if classes:
            system.head = ClassificationHead(classes)
        config = StageConfig(name, steps=10, batch=2, size_px=32, **options)
        objective = OBJECTIVES[name](system, Aids(8, classes), config)
        system.hider.requires_grad_(objective.trains_hider)
        system.analyzer.requires_grad_(objective.trains_analyzer)
        return objective

    return build


def total(objective: Objective, batch: Batch, done: float = 0.5) -> torch.Tensor:
    return torch.stack(list(objective(batch, done).values())).sum()


def learns(module: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in module.parameters())


def test_all_are_here() -> None:
    paper = {"analyze_frozen", "distill_functions", "distill_features", "fine_tune"}  # see test_algorithm1.py
    assert set(OBJECTIVES) == {*NAMES, "follow", "seal"} | paper


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [None, 2])
def test_terms(name: str, classes: int | None, make, batch: Batch) -> None:
    losses = make(name, classes)(batch, 0.5)
    assert set(losses) == NAMES[name]
    for value in losses.values():
        assert value.shape == ()
        assert value.isfinite()
        assert value > 0


@pytest.mark.parametrize(
    ("name", "hider", "analyzer"),
    [
        ("hide", True, False),
        ("read", True, True),
        ("look", False, True),
        ("joint", True, True),
        ("answer", False, True),
    ],
)
def test_who_learns(name: str, hider: bool, analyzer: bool, make, batch: Batch) -> None:
    objective = make(name)
    total(objective, batch).backward()
    assert (objective.trains_hider, objective.trains_analyzer) == (hider, analyzer)
    assert learns(objective.system.hider) == hider
    assert learns(objective.system.analyzer) == analyzer
    assert learns(objective.system.analyzer.heads) == (name in ("joint", "answer"))
    assert learns(objective.aids) == (name != "hide")


def test_analyzer_feels_recovery_through_the_frozen_hider(make, batch: Batch) -> None:
    objective = make("answer")
    objective(batch, 0.5)["task"].backward()
    assert all(parameter.grad is None for parameter in objective.system.hider.parameters())
    assert learns(objective.system.analyzer.heads)


def test_direct_supervision_shapes_the_hider(make, batch: Batch) -> None:
    objective = make("read")
    objective(batch, 0.5)["direct"].backward()
    assert learns(objective.system.hider)  # H learns to hide what M can read


@pytest.mark.parametrize("name", NAMES)
def test_hider_is_not_in_the_answer_stage_graph(name: str, make, batch: Batch) -> None:
    before = {key: value.clone() for key, value in make(name).system.hider.state_dict().items()}
    objective = make(name)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=1e-2)
    total(objective, batch).backward()
    optimizer.step()
    same = all(torch.equal(before[key], value) for key, value in objective.system.hider.state_dict().items())
    assert same == (name in ("look", "answer"))


def test_hide_by_hand(make, batch: Batch) -> None:
    objective = make("hide")
    hider = objective.system.hider
    stego = transmit(hider.hide(batch.secrets, batch.covers))
    low = split(dwt(stego))["ll"] - split(dwt(batch.covers))["ll"]
    for done, weight in ((0.0, 10), (0.59, 10), (0.6, 30), (1.0, 30)):
        losses = objective(batch, done)
        torch.testing.assert_close(losses["stego"], weight * (stego - batch.covers).square().mean())
        torch.testing.assert_close(losses["low"], 10 * low.square().mean())
        recovered = hider.recover(stego)
        torch.testing.assert_close(losses["recover"], 3 * (recovered - batch.secrets).square().mean())


def test_joint_by_hand(make, batch: Batch) -> None:
    objective = make(
        "joint", stego_limit=1e-3, stego_weight=7.0, reply_limit=2e-3, reply_weight=11.0,
        recover_weight=0.5, reconstruct_weight=13.0,
    )  # fmt: skip
    losses = objective(batch, 0.25)
    system = objective.system
    trip = system(batch.secrets, batch.covers)
    features = system.analyzer.features(split(dwt(trip.stego)))
    small, direct = objective.aids(features)
    half = F.avg_pool2d(batch.secrets, 2)

    def squared(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).square().mean()

    assert squared(trip.stego, batch.covers) > 1e-3
    assert squared(trip.reply, batch.covers) > 2e-3
    expected = {
        "task": mia_loss(trip.logits, batch.masks),
        "direct": mia_loss(direct, F.avg_pool2d(batch.masks, 2)),
        "reconstruct": 13 * squared(small, half),
        "stego": 7 * (squared(trip.stego, batch.covers) - 1e-3),
        "reply": 0.35 * 11 * (squared(trip.reply, batch.covers) - 2e-3),
        "recover": 0.5 * squared(system.hider.recover(trip.stego), batch.secrets),
    }
    assert set(losses) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=1e-6)
    # The same terms in the other stages: what differs is who learns.
    for name in ("read", "answer"):
        other = OBJECTIVES[name](system, objective.aids, objective.config)(batch, 0.25)
        for term, value in other.items():
            torch.testing.assert_close(value, expected[term], rtol=1e-5, atol=1e-6)


def test_pull_on_the_reply_rises(make, batch: Batch) -> None:
    objective = make("joint", reply_limit=0.0)
    pulls = [objective(batch, done)["reply"].item() for done in (0.0, 0.4, 0.9, 1.0)]
    assert [pull / pulls[-1] for pull in pulls] == pytest.approx([0.1, 0.5, 1, 1])


def test_within_the_limits_there_is_no_pull(make, batch: Batch) -> None:
    losses = make("joint", stego_limit=10.0, reply_limit=10.0, reply_ssim=0.01)(batch, 1.0)
    assert losses["stego"] == losses["reply"] == losses["ssim"] == 0


def test_a_hundredth_of_ssim_pulls_as_a_squared_distance_of_1e_4(make, batch: Batch) -> None:
    objective = make("joint", reply_ssim=0.999, reply_weight=11.0)
    losses = objective(batch, 0.25)
    trip = objective.system(batch.secrets, batch.covers)
    missing = ssim_loss(trip.reply, batch.covers) - 0.001
    assert missing > 0
    torch.testing.assert_close(losses["ssim"], 0.35 * 11 * missing / 100)
    assert set(make("answer", reply_ssim=0.999)(batch, 0.5)) == NAMES["answer"] | {"ssim"}


@pytest.mark.parametrize("classes", [None, 2])
def test_a_change_is_held_even_where_something_is_hidden(classes: int | None, make, batch: Batch) -> None:
    """By the trips of the secrets alone: what is written into a photo that hides nothing says nothing."""
    losses = make("joint", classes, even_weight=3.0, blank=1).eval()(batch, 0.5)
    objective = make("joint", classes, even_weight=3.0).eval()
    trip = objective.system(batch.secrets, batch.covers)
    expected = 3 * even_loss(trip.reply - trip.stego, trip.recovered - trip.reference)
    assert expected > 0
    torch.testing.assert_close(losses["even"], expected)
    torch.testing.assert_close(objective(batch, 0.5)["even"], expected)
    assert set(make("answer", even_weight=3.0)(batch, 0.5)) == NAMES["answer"] | {"even"}


@pytest.mark.parametrize("name", ["joint", "answer"])
def test_what_strays_is_found_in_all_replies(name: str, make, batch: Batch) -> None:
    """Also in that to a photo that hides nothing."""
    objective = make(name, stray_weight=5.0, blank=1).eval()
    with torch.no_grad():
        for parameter in objective.system.hider.parameters():
            parameter.mul_(3)
        objective.system.analyzer.heads["ll"].bias.fill_(9.0)
        sent = torch.cat([objective.system.hider.hide(batch.secrets, batch.covers), batch.covers[:1]])
        found = objective.system.answer(transmit(sent), transmit(objective.system.analyzer(transmit(sent)))).recovered
    outside = (found - found.clamp(-1, 2)).abs().mean()
    assert outside > 0
    torch.testing.assert_close(objective(batch, 0.5)["stray"], 5 * outside, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("colours", "reached"), [("blue", [0, 0, 2]), ("all", [2, 2, 2])])
@pytest.mark.parametrize("name", ["joint", "answer"])
def test_under_a_veil_a_stage_reads_what_is_held(
    name: str, colours: str, reached: list[int], make, batch: Batch
) -> None:
    """And pulls back what reached too far in any reply, wherever the cover lies."""
    objective = make(name, reach=Reach(2, colours), blank=1, reply_weight=11.0, reply_limit=0.0).eval()
    system = objective.system
    assert system.reach == Reach(2, colours)
    with torch.no_grad():
        losses = objective(batch, 0.25)
        stego = transmit(system.hider.hide(batch.secrets, batch.covers))
        sent = torch.cat([stego, batch.covers[:1]])
        reply = system.analyzer(sent)
        trip = system(batch.secrets, batch.covers)
    assert (trip.reply - trip.stego).abs().amax(dim=(0, 2, 3)).mul(255).tolist() == pytest.approx(reached, abs=0.01)
    torch.testing.assert_close(losses["task"], mia_loss(trip.logits, batch.masks))
    excess = ((reply - sent)[:, reached.index(2) :].abs() - 2 / 255).clamp_min(0).square().mean()
    assert excess > 0
    torch.testing.assert_close(losses["reply"], 0.35 * 11 * excess)


@pytest.mark.parametrize(
    ("name", "options"), [("look", {}), ("seal", {}), ("joint", {"reply_ssim": 0.9}), ("joint", {"reach": Reach(0)})]
)
def test_a_veil_that_a_stage_cannot_learn_under_is_refused(name: str, options: dict, make) -> None:
    with pytest.raises(ValueError, match="reach: expected"):
        make(name, **({"reach": Reach(1)} | options))


def test_a_stage_without_a_veil_takes_off_one_that_was_there(make) -> None:
    objective = make("joint", reach=Reach(1))
    OBJECTIVES["joint"](objective.system, objective.aids, dataclasses.replace(objective.config, reach=None))
    assert objective.system.reach is None


def test_an_even_change_is_not_bought_by_saying_less(make, batch: Batch) -> None:
    """What is said is the task's alone: neither R(reply) nor R(stego) gets a gradient."""
    objective = make("joint", even_weight=3.0)
    trip = objective.system(batch.secrets, batch.covers)
    found = [recovered.detach().requires_grad_() for recovered in (trip.recovered, trip.reference)]
    objective.system.answer = lambda *_: dataclasses.replace(trip, recovered=found[0], reference=found[1])
    assert torch.autograd.grad(objective(batch, 0.5)["even"], found, allow_unused=True) == (None, None)


def test_aids() -> None:
    features = Features({band: torch.rand(2, 8, 4, 4) for band in ("ll", "hl", "lh", "hh")})
    reconstruction, logits = Aids(8, None)(features)
    assert reconstruction.shape == (2, 3, 4, 4)
    assert logits.shape == (2, 1, 4, 4)
    assert Aids(8, 5)(features)[1].shape == (2, 5)
    verdict = torch.rand(2, 5)
    assert Aids(8, 5)(features._replace(verdict=verdict))[1] is verdict


def judging() -> System:
    config = ModelConfig(
        "m",
        "classification",
        ("a", "b"),
        hider=HiderConfig(blocks=1, growth=4),
        analyzer=AnalyzerConfig(k=0, width=8, levels=2, attention_levels=1, seal=7, classes=2),
    )
    return config.build()


def test_a_verdict_is_supervised_in_the_place_of_the_aid() -> None:
    system = judging()
    objective = OBJECTIVES["look"](system, Aids(8, 2), StageConfig("look", 1, 2, 32))
    photos, labels = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    sum(objective(Batch(photos, photos, None, labels), 0.0).values()).backward()
    assert system.analyzer.verdict.linear.weight.grad.abs().sum() > 0
    assert objective.aids.direct.weight.grad is None


def test_a_frozen_verdict_is_what_has_to_be_read(shake) -> None:
    """By hand: the cross entropy of what was judged; one that learns has to be read as the labels are."""
    system = shake(judging(), std=0.05).eval()
    photos = torch.rand(4, 3, 32, 32)
    found = {}
    for frozen in (True, False):
        config = StageConfig("answer", 3, 4, 32, analyzer_rate=1e-2, frozen_norms=True, frozen_verdict=frozen)
        objective = OBJECTIVES["answer"](system, Aids(8, 2), config).eval()
        for label in (0, 1):
            batch = Batch(photos, photos.flip(0), None, torch.full((4,), label), photos.flip(0))
            found[frozen, label] = objective(batch, 0.0)
    with torch.no_grad():
        bands = split(dwt(photos.flip(0)))
        features = system.analyzer.features(bands)
        logits = system.answer(photos.flip(0), transmit(system.analyzer.reply(bands, features))).logits
        judged = features.verdict.softmax(dim=1)
        wanted = -(judged * logits.log_softmax(dim=1)).sum(dim=1).mean()
    for label in (0, 1):
        torch.testing.assert_close(found[True, label]["task"].detach(), wanted)
        own = -logits.log_softmax(dim=1)[:, label].mean()
        torch.testing.assert_close(found[False, label]["task"].detach(), own)
    assert found[True, 0]["direct"] != found[True, 1]["direct"]  # a hider that learns is still asked for labels


def test_a_frozen_verdict_stays_while_writing_it_is_learned(shake) -> None:
    system = shake(judging(), std=0.05)
    photos, labels = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    config = StageConfig(
        "answer", 3, 2, 32, analyzer_rate=1e-2, seal_weight=1.0, frozen_norms=True, frozen_verdict=True
    )
    run = StageRun(OBJECTIVES["answer"](system, Aids(8, 2), config), Fabric(accelerator="cpu", devices=1), seed=0)
    bands = split(dwt(photos))

    def read() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            features = system.analyzer.eval().features(bands)
            return features.verdict, system.analyzer.reply(bands, features)

    verdict, reply = read()
    for _ in range(3):
        assert run.advance(lambda _: Batch(photos, photos, None, labels)) is not None
    learned, written = read()
    assert torch.equal(learned, verdict)
    assert not torch.allclose(written, reply)
    stays = {name for name, parameter in system.analyzer.named_parameters() if not parameter.requires_grad}
    assert all(".down." in name or name.startswith(("attention.", "verdict.")) for name in stays)
    assert not any(parameter.requires_grad for parameter in system.analyzer.verdict.parameters())


def test_where_nothing_judges_no_verdict_can_be_frozen(tiny_system) -> None:
    config = StageConfig("answer", 1, 2, 32, analyzer_rate=1e-2, frozen_verdict=True)
    with pytest.raises(ValueError, match="frozen_verdict: expected False for an analyzer that gives no verdict"):
        OBJECTIVES["answer"](tiny_system(), Aids(8, None), config)


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        StageConfig("hide", 1, 1, 32).steps = 2


def test_the_seal_stage_moves_what_writes_the_seal_and_nothing_of_the_hider(batch: Batch) -> None:
    config = micro_config()
    system = micro_system(config)
    objective = OBJECTIVES["seal"](system, Aids(8, None), StageConfig("seal", 1, 2, 64, seal_weight=1.0, blank=1))
    losses = objective(batch, 0.5)
    assert set(losses) == {"task", "reply", "seal"}
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in system.analyzer.seals.parameters())
    (_, rate), (_, slow) = objective.trained()
    assert slow == rate / 100
