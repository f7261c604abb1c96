"""The paper's figures, to stand beside ours: Tables 1 to 7, in percent, pixels and dB as printed.

A figure that cannot be told from the text of the paper (columns that came out one short) is left out.
"""

from __future__ import annotations

ANALYZERS = ("unet", "transunet", "xnet", "cmunext")
HIDERS = ("hinet", "deepstega", "hidden")
PAIRS = tuple(f"{analyzer}-{hider}" for hider in HIDERS for analyzer in ANALYZERS)

_TABLE1 = {
    ("busi", "dsc"): "60.55 63.92 59.74 64.36 66.77 62.16 65.44 61.41 61.79 61.68 62.45 63.29",
    ("busi", "asd_px"): "13.76 10.61 13.43 11.04 9.45 11.95 9.65 12.93 10.38 10.54 12.00 12.95",
    ("kvasir", "dsc"): "64.82 60.29 61.60 68.26 60.38 58.93 63.71 65.23 65.92 61.82 61.82 64.51",
    ("teeth", "dsc"): "77.62 74.35 74.66 75.23 69.84 71.54 71.12 76.08 74.90 77.39 70.07 78.59",
    ("teeth", "asd_px"): "1.18 1.42 1.49 1.78 2.11 1.43 1.57 1.80 2.65 1.73 1.40 1.1",
    ("cells", "auc"): "73.74 81.07 75.07 79.93 79.03 83.92 85.99 76.57 75.96 82.65 74.21 73.79",
    ("ham10000", "accuracy"): "67.08 68.33 69.23 67.48 66.18 65.59 66.38 67.23 67.13 68.28 66.88 67.68",
    ("ham10000", "auc"): "82.72 77.10 86.46 86.47 77.97 85.50 82.70 85.40 80.33 78.97 72.94 81.88",
    ("chestct", "accuracy"): "31.75 38.10 31.43 33.65 33.33 34.29 35.24 33.02 30.16 29.84 21.11 37.14",
}
_PLAIN = {
    "busi": {"dsc": 72.85, "asd_px": 6.58}, "kvasir": {"dsc": 81.83, "asd_px": 4.30},
    "teeth": {"dsc": 91.15, "asd_px": 0.15}, "cells": {"accuracy": 67.23, "auc": 84.35},
    "ham10000": {"accuracy": 73.10, "auc": 91.20}, "chestct": {"accuracy": 58.41, "auc": 85.37},
}  # fmt: skip
_OURS = {
    "busi": {"dsc": 74.11, "asd_px": 6.76}, "kvasir": {"dsc": 77.56, "asd_px": 5.79},
    "teeth": {"dsc": 89.45, "asd_px": 0.19}, "cells": {"accuracy": 63.28, "auc": 87.25},
    "ham10000": {"auc": 92.73}, "chestct": {"auc": 72.72},
}  # fmt: skip
_TABLE2 = {
    "segmentation": "18.58 17.35 18.69 18.72 18.07 17.38 18.11 18.07 17.08 16.83 16.60 18.13 33.01",
    "classification": "19.29 20.30 17.42 19.77 21.49 15.85 19.57 20.04 17.03 16.43 16.30 13.48 36.84",
}
_TABLE2_SSIM = {
    "segmentation": "0.2953 0.3251 0.2904 0.2916 0.3150 0.3653 0.4131 0.3678 0.2865 0.2217 0.2387 0.2746 0.8556",
    "classification": "0.3460 0.3694 0.2473 0.3850 0.3759 0.2721 0.3561 0.3697 0.2980 0.2759 0.2706 0.4532 0.8963",
}
COLUMNS = {
    "busi": "BUSI", "kvasir": "Kvasir-SEG", "teeth": "ChildDental", "cells": "SIPaKMeD", "ham10000": "DermaMNIST",
    "chestct": "ChestCT",
}  # fmt: skip
"""The paper's data sets as it names them, by a word that is looked for in the name of the data's folder."""


def table1(column: str | None) -> dict[str, dict[str, float]]:
    """Rows of Table 1 in one data set's column; empty where the paper has none."""
    rows: dict[str, dict[str, float]] = {name: {} for name in ("plain", *PAIRS, "hidemia")}
    for (name, figure), values in _TABLE1.items():
        if name == column:
            for pair, value in zip(PAIRS, values.split(), strict=True):
                rows[pair][figure] = float(value)
    rows["plain"].update(_PLAIN.get(column or "", {}))
    rows["hidemia"].update(_OURS.get(column or "", {}))
    return rows


def table2(task: str) -> dict[str, dict[str, float]]:
    """Rows of Table 2: the reply against the cover, over all data sets of a task."""
    columns = zip((*PAIRS, "hidemia"), _TABLE2[task].split(), _TABLE2_SSIM[task].split(), strict=True)
    return {name: {"reply_psnr_db": float(psnr), "reply_ssim": float(ssim)} for name, psnr, ssim in columns}


TABLE3 = {
    "residual-ll": {"reply_psnr_db": 33.84, "reply_ssim": 0.8394, "dsc": 74.11, "asd_px": 6.76},
    "residual-none": {"reply_psnr_db": 17.41, "reply_ssim": 0.2615, "dsc": 74.39, "asd_px": 6.89},
}
TABLE4 = {
    f"k-{k}": {"dsc": dsc, "asd_px": asd}
    for k, (dsc, asd) in enumerate(
        [(70.77, 9.91), (72.75, 9.12), (74.11, 6.76), (73.47, 7.01), (71.88, 7.34), (71.37, 7.36)]
    )
}
TABLE5 = {
    "candidates-2": {"dsc": 70.47, "asd_px": 8.91},
    "candidates-3": {"dsc": 71.51, "asd_px": 8.73},
    "candidates-4": {"dsc": 73.80, "asd_px": 6.89},
    "candidates-5": {"dsc": 74.11, "asd_px": 6.76},
}
TABLE6 = {
    "none": {"dsc": 68.94, "asd_px": 10.14},
    "inner": {"dsc": 69.91, "asd_px": 8.22},
    "inter_symmetric": {"dsc": 71.35, "asd_px": 7.39},
    "inter_asymmetric": {"dsc": 73.38, "asd_px": 6.75},
    "symmetric": {"dsc": 72.32, "asd_px": 9.36},
    "asymmetric": {"dsc": 74.11, "asd_px": 6.76},
}
TABLE7 = {
    "hidemia-hinet": {"gmacs": 152.17, "parameters": 4.05, "dsc": 71.45, "stego_psnr_db": 45.27, "stego_ssim": 0.989},
    "hidemia-deepstega": {
        "gmacs": 73.30,
        "parameters": 0.49,
        "dsc": 70.25,
        "stego_psnr_db": 31.76,
        "stego_ssim": 0.812,
    },
    "hidemia-hidden": {"gmacs": 87.49, "parameters": 0.58, "dsc": 69.80, "stego_psnr_db": 34.16, "stego_ssim": 0.969},
    "lightih-features": {"gmacs": 38.04, "parameters": 1.01, "dsc": 72.06, "stego_psnr_db": 41.83, "stego_ssim": 0.975},
    "lightih-functions": {
        "gmacs": 38.04,
        "parameters": 1.01,
        "dsc": 74.11,
        "stego_psnr_db": 43.60,
        "stego_ssim": 0.982,
    },
}
