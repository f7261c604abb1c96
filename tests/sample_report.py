"""A report with something in every section, made of numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np

from hidemia.benchmarks.report.document import Environment, Method, Report
from hidemia.benchmarks.report.findings import Attacks, Control, Detection, Exposure, Learned
from hidemia.benchmarks.report.measurements import (
    Agreement,
    GraphFile,
    Limit,
    Model,
    NetworkCost,
    Picture,
    Power,
    Stage,
    Target,
    Timing,
    Visibility,
)
from hidemia.runtime import png


def timing(verb="hide", times_ms=(100.0, 101.0, 102.0, 103.0, 104.0), **changes) -> Timing:
    settings = {
        "rival": "bundle", "backend": "onnxruntime", "precision": "fp32", "graph": f"{verb}.fp32.onnx", "batch": 1,
        "threads": 2, "times_ms": list(times_ms), "load_ms": 30.0, "first_ms": 150.0, "resident_mib": 80.0,
        "peak_mib": 120.0, "agreement": Agreement(identical_share=0.9999, largest=1),
    }  # fmt: skip
    return Timing(verb=verb, **(settings | changes))


def attacks(**changes) -> Attacks:
    """Three attackers on one photo, each with a figure that can be checked by hand."""

    def row(knowledge, trained_on, target, *error):
        return Detection(
            detector="classical", knowledge=knowledge, trained_on=trained_on, target=target, pairs=2048,
            error=list(error), auc=[0.9, 0.8], found=[0.25, 0.75], curve=[(0.0, 0.25), (1.0, 1.0)],
        )  # fmt: skip

    settings = {
        "hider": "sample", "date": "2026-01-02", "seconds": 120.0, "machine": "A processor", "quick": False,
        "method": ["Scans in photos.", "Three seeds."],
        "controls": [
            Control(name="cover against cover", expected="error 40% to 60%", got="50.0%", held=True),
            Control(name="LSB matching 0.4", expected="error below 20%", got="30.0%", held=False),
        ],
        "detections": [
            row("control", "LSB matching 0.4", "LSB matching 0.4", 0.3, 0.3),
            row("nothing", "LSB matching 0.4", "reply", 0.4, 0.5),
            row("the exact weights", "stego", "stego", 0.01, 0.03),
        ],
        "learned": [
            Learned(hider=hider, target="stego", pairs=pairs, error=[error, error])
            for hider, pairs, error in (("sample", 10, 0.25), ("sample", 100, 0.125), ("small", 10, 0.5))
        ],
        "exposures": [
            Exposure(attack="theft", reveals="secret", figures={"PSNR dB": 24.25}, beside={"PSNR dB": 15.5}),
        ],
        "absent": {"learning curve of hinet": "no | weights"},
    }  # fmt: skip
    return Attacks(**(settings | changes))


def sample(**changes) -> Report:
    draw = np.random.default_rng(0)
    settings = {
        "model": "sample",
        "image_size_px": 224,
        "targets": [
            Target(id="hide_fp32_ort", target=1.5, measured=1.62, unit="x", holds=True),
            Target(id="trip_overhead", target=15, measured=21.0, unit="%", holds=False),
            Target(id="startup_mib", target=200, measured=150.0, unit="MiB", holds=True),
            Target(id="trt_fp16", target=3, measured=None, unit="x", holds=None, reason="needs a GPU"),
        ],
        "times_ms": {"hide": {"plain onnxruntime": 162.0, "fp32 onnxruntime": 100.0}},
        "environment": Environment(
            processor="A <processor> & more", machine="x86_64", cores=2, memory_mib=8192, os="Linux 6", python="3.11.7",
            versions={"hidemia": "0.1.0", "onnxruntime": "1.20.0"}, gpus=[], governor=None, threads=2, load_before=0.1,
        ),
        "method": Method(
            quick=False, rounds=15, warm_up=3, images="simulated", image_size_px=224, date="2026-01-02", seconds=600,
            code_sha256="c0de" * 16, counting="One multiply-add counts 1.",
        ),
        "limits": [Limit(threads=2, product_gflops=200.0, copy_gb_s=10.0, unsteadiness=1.05)],
        "networks": [
            NetworkCost(network="LightIH", part=part, parameters=1_012_560, multiply_adds=counted,
                        graph_multiply_adds=counted, others=0, activation_bytes=15 << 20)
            for part, counted in (("one direction, whole", 12_680_478_720), ("hide", 10_572_484_608),
                                  ("recover", 11_627_000_000), ("hide + recover", 22_199_484_608))
        ] + [NetworkCost(network="HiNet", part="one direction, whole", reason="left out by --quick")],
        "graphs": [
            GraphFile(role=role, verb=verb, path=f"{verb}.fp32.onnx", precision="fp32", sha256="0" * 64,
                      size_bytes=2 << 20, numbers=900_000, multiply_adds=10_000_000_000, flops=20_100_000_000,
                      activation_bytes=20 << 20, traffic_bytes=1_000_000_000)
            for role, verb in (("client", "hide"), ("client", "recover"), ("server", "analyze"))
        ],
        "timings": [
            timing(),
            timing(backend="openvino", times_ms=(80.0, 81.0, 82.0)),
            timing(rival="PyTorch eager", backend="torch", graph="", times_ms=(300.0, 310.0, 305.0)),
            timing(rival="PyTorch compiled", backend="torch", graph="", times_ms=(), reason="there is | no compiler"),
            timing("analyze", (40.0, 41.0, 42.0)),
            timing("analyze", (160.0, 162.0, 161.0), batch=8),
            timing("recover", (210.0, 211.0, 250.0)),
        ],
        "stages": [
            Stage(name="hide", place="device", times_ms=[100.0, 110.0, 120.0]),
            Stage(name="HTTP", place="wire", times_ms=[3.0, 2.0, 4.0]),
            Stage(name="analyze", place="server", times_ms=[40.0, 40.0, 41.0]),
            Stage(name="recover", place="device", times_ms=[200.0, 210.0, 205.0]),
        ],
        "power": Power(source="a meter", idle_w=5.0, busy_w=20.5, joules_per_trip=7.25),
        "models": [
            Model(name=name, multiply_adds=giga * 10**9, figures={
                "n_images": 64, "stego_psnr_db": 44.5, "stego_psnr_min_db": 41.8, "stego_ssim": 0.986,
                "reply_psnr_db": 39.4, "reply_psnr_min_db": 36.3, "reply_ssim": 0.956, "dsc": 0.685,
                "location_prior": 0.286,
            })
            for name, giga in (("sample", 30), ("small", 8))
        ],
        "visibility": [
            Visibility(photo="stego", psnr_db=[44.0, 46.0], ssim=[0.98, 0.99], levels=[50, 30, 15, 5]),
            Visibility(photo="reply", psnr_db=[39.0, 41.0], ssim=[0.95, 0.96], levels=[20, 30, 30, 15, 5]),
        ],
        "pictures": [
            Picture(name=name, caption="made up", png=png.encode(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)))
            for name in ("cover", "stego - cover, x20")
        ],
        "absent": {"attacks": "no attacks yet"},
    }  # fmt: skip
    return Report(**(settings | changes))
