from hidemia.benchmarks.forms import Timed, table

TIMES = [
    Timed("analyze", "one", "onnxruntime", 1, 10.04, chosen=True),
    Timed("analyze", "any", "onnxruntime", 1, 12.0, chosen=False),
    Timed("analyze", "any", "onnxruntime", 8, 11.0, chosen=True),
    Timed("analyze", "plain convolutions", "onnxruntime", 1, 9.0, chosen=False),
    Timed("analyze", "plain convolutions", "onnxruntime", 8, 8.0, chosen=False),
    Timed("hide", "direct", "onnxruntime", 1, 99.0, chosen=True),
]


def test_the_choice_is_bold_and_the_fastest_exact_form_has_a_star():
    assert table(TIMES, ["analyze"]) == [
        "| ms a photo | analyze, ONNX Runtime, batch 1 | analyze, ONNX Runtime, batch 8 |",
        "|---|---|---|",
        "| one | **10.0** * | - |",
        "| any | 12.0 | **11.0** * |",
        "| plain convolutions | 9.0 | 8.0 |",
    ]
