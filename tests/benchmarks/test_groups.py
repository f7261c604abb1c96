from pathlib import Path

from hidemia.benchmarks.groups import Group, Plan, groups


def plan(**changes):
    settings = {"client": Path(), "server": Path(), "weights": Path(), "probes": [], "real": False, "threads": 2,
                "quick": False, "rounds": 40, "warm_up": 3, "trips": 1}  # fmt: skip
    return Plan(**(settings | changes))


def test_the_whole_report_has_every_verb_on_one_thread_and_on_all():
    found = groups(plan())
    assert len({group.name for group in found}) == len(found) == 4 + 8 + 3
    assert Group("hide", 1, 1, 40) in found
    assert Group("analyze", 2, 2, 20) in found
    assert Group("recover", 8, 2, 10) in found
    assert {group.batch for group in found if group.verb != "analyze" and group.threads == 1} == {1}
    assert {group.batch for group in found if group.verb == "analyze" and group.threads == 1} == {1, 8}
    assert [group.name for group in found[-3:]] == [
        "hide.paper.threads2", "analyze.paper.threads2", "recover.paper.threads2",
    ]  # fmt: skip
    assert len(groups(plan(threads=1))) == 8 + 3


def test_a_quick_report_has_every_verb_once():
    found = groups(plan(quick=True, rounds=5))
    assert found == [
        Group("hide", 1, 2, 5),
        Group("analyze", 1, 2, 5),
        Group("recover", 1, 2, 5),
        Group("analyze", 8, 2, 5),
    ]
