"""Named recipes: what is trained, in which stages, for how long. `hidemia train busi` runs RECIPES["busi"]."""

from __future__ import annotations

from dataclasses import replace

from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.channel import Reach
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.objective import StageConfig
from hidemia.training.pairs import PAIRS
from hidemia.training.recipe import Recipe

BUSI = Recipe(
    ModelConfig("busi", analyzer=AnalyzerConfig(seal=1)),
    (
        StageConfig("hide", steps=1500, batch=8, size_px=64, hider_rate=6e-4),
        StageConfig("read", steps=900, batch=8, size_px=96, hider_rate=1.5e-4, analyzer_rate=1e-3),
        StageConfig("joint", steps=1500, batch=8, size_px=96, hider_rate=1e-4, analyzer_rate=7e-4),
        StageConfig("answer", steps=420, batch=8, size_px=224, analyzer_rate=4e-4),
        StageConfig(
            "seal", steps=120, batch=3, size_px=224, analyzer_rate=1e-2, seal_weight=1.0, blank=2, frozen_norms=True
        ),
        StageConfig(
            "seal", steps=800, batch=4, size_px=224, analyzer_rate=1e-2, seal_weight=2.0, blank=1, frozen_norms=True,
            reply_limit=7e-5,
        ),
    ),
)  # fmt: skip

# LightIH-S: a quarter of LightIH's multiplications. Busi's hider teaches it, and busi's analyzer learns on with it. The
# hider alone is used further.
LIGHT = Recipe(
    ModelConfig("light", hider=HiderConfig(growth=12), analyzer=AnalyzerConfig(seal=7)),
    (
        StageConfig("distill_features", steps=800, batch=8, size_px=64, hider_rate=2e-3),
        StageConfig(
            "joint", steps=700, batch=8, size_px=96, hider_rate=4e-4, analyzer_rate=4e-4, stego_limit=3.5e-5,
            stego_weight=8000.0, seal_weight=1.0, blank=1, reply_limit=7e-5,
        ),
    ),
    teacher=HiderConfig(),
    pupil_of="busi",
)  # fmt: skip

# Algorithm 1 with the settings printed in section 4.1. The paper takes a teacher that is trained already, and prints
# neither the number of steps nor the third learning rate: those, and 1e-4, are ours.
PAPER = Recipe(
    ModelConfig(
        "paper",
        form="printed",
        hider=HiderConfig(slope=0.01),
        analyzer=AnalyzerConfig(width=64, levels=5, diagonals="literal5", scale="sqrt_n", residual="ll"),
    ),
    (
        StageConfig("hide", steps=20000, batch=8, size_px=224, hider_rate=1e-4, teacher=True),
        StageConfig(
            "analyze_frozen", steps=20000, batch=8, size_px=224, analyzer_rate=5e-4, reply_weight=200.0, teacher=True
        ),
        StageConfig("distill_functions", steps=10000, batch=8, size_px=224, hider_rate=1e-4),
        StageConfig(
            "fine_tune", steps=10000, batch=8, size_px=224, hider_rate=1e-5, analyzer_rate=1e-5, stego_weight=0.0,
            reply_weight=200.0,
        ),
    ),
    teacher=HiderConfig(blocks=16, slope=0.01),
)  # fmt: skip

# A hider that is there learns to lose less of the scans that it is to hide, with what reads them.
READ_AGAIN = StageConfig(
    "read", steps=1400, batch=16, size_px=96, hider_rate=6e-4, analyzer_rate=1e-3, stego_limit=4e-5,
    stego_weight=8000.0, reconstruct_weight=100.0, recover_weight=10.0,
)  # fmt: skip
# The same at full size, where it will hide: a step sees as many pixels, and takes as long.
READ_FULL = StageConfig(
    "read", steps=1400, batch=3, size_px=224, hider_rate=6e-4, analyzer_rate=1e-3, stego_limit=3e-5,
    stego_weight=8000.0, reconstruct_weight=100.0, recover_weight=100.0,
)  # fmt: skip
# What is judged has to be written too, on the finished hider; the verdict stays as it is.
WRITE = StageConfig(
    "answer", steps=160, batch=4, size_px=224, analyzer_rate=7e-4, seal_weight=1.0, blank=1, frozen_norms=True,
    frozen_verdict=True, reply_limit=7e-5,
)  # fmt: skip
# It may have forgotten colour by then, in which the seal is written; the verdict stays as it is.
LAST_JOINT = StageConfig(
    "joint", steps=200, batch=4, size_px=224, hider_rate=3e-4, analyzer_rate=5e-4, stego_limit=2.5e-5,
    stego_weight=8000.0, recover_weight=10.0, seal_weight=1.0, blank=1, frozen_norms=True, frozen_verdict=True,
    reply_limit=7e-5,
)  # fmt: skip
# Then the reply comes nearly as close to the cover as the stego, in distance and in SSIM.
UNSEEN = replace(
    LAST_JOINT, steps=500, hider_rate=1e-4, recover_weight=100.0, frozen_verdict=False, reply_limit=3.2e-5,
    reply_ssim=0.989, reply_weight=20000.0,
)  # fmt: skip
# Whoever subtracts the stego from the reply shall not see where something is said. Photos with nothing in them are told
# more surely, and what R finds is kept from straying.
EVEN = replace(UNSEEN, steps=400, even_weight=2.0, stray_weight=5.0, seal_weight=2.0, blank=2)
# From then on replies travel under a veil: nothing of them shows, whatever they say within its reach.
VEILED = replace(EVEN, even_weight=0.0, reply_ssim=0.0, reach=Reach(1))
# At last in blue alone, which is a tenth of brightness. Stegos are held nearer.
IN_BLUE = replace(VEILED, reach=Reach(1, "blue"), stego_limit=1.8e-5)

# On a hider that is finished an analyzer alone has to learn: one of plain convolutions, which learns first
# (docs/tables.md, Table 4), from photos that do not keep their scans, because those are soon known by heart. In the end
# the hider learns on at full size, and is read again.
BUSI_S = Recipe(
    ModelConfig(
        "busi-s",
        hider=HiderConfig(growth=12),
        analyzer=AnalyzerConfig(width=8, levels=5, k=0, seal=5),
        veil_reach=1,
        veil_colours="blue",
    ),
    (
        StageConfig("look", steps=3000, batch=16, size_px=96, analyzer_rate=1e-3, pool=9184, exchanged=True),
        StageConfig("look", steps=1400, batch=8, size_px=224, analyzer_rate=7e-4, pool=3444, exchanged=True),
        StageConfig(
            "answer", steps=120, batch=8, size_px=96, analyzer_rate=7e-4, seal_weight=1.0, blank=1, frozen_norms=True,
            reply_limit=7e-5, pool=9184,
        ),
        StageConfig(
            "answer", steps=100, batch=4, size_px=224, analyzer_rate=7e-4, seal_weight=1.0, blank=1, frozen_norms=True,
            reply_limit=7e-5, pool=3444,
        ),
        READ_FULL,
        StageConfig(
            "look", steps=2800, batch=8, size_px=224, analyzer_rate=7e-4, pool=6888, exchanged=True, joined=True
        ),
        replace(LAST_JOINT, steps=400, hider_rate=1e-4, recover_weight=100.0, frozen_verdict=False),
        UNSEEN,
        EVEN,
        VEILED,
        IN_BLUE,
    ),
    hider_of="light",
)  # fmt: skip

# The hider of busi-s has seen grey alone, and outlines to be read from it. It is read for a while as it is, and then
# learns on with what reads it, held to the cover. At full size the analyzer goes on alone, twice: the second time was
# worth more than expected (docs/research.md, what was found). Then the hider learns at full size, and is read again. In
# the end a plain network shows what there is to be seen. What is seen through an endoscope has no up.
KVASIR = Recipe(
    ModelConfig(
        "kvasir",
        classes=("background", "polyp"),
        hider=HiderConfig(growth=12),
        analyzer=AnalyzerConfig(width=8, levels=5, k=0, seal=2),
        veil_reach=1,
    ),
    (
        StageConfig("look", steps=1000, batch=16, size_px=96, analyzer_rate=1e-3, pool=4800, exchanged=True),
        StageConfig(
            "read", steps=1300, batch=16, size_px=96, hider_rate=3e-4, analyzer_rate=1e-3, stego_limit=3e-5,
            stego_weight=8000.0, reconstruct_weight=30.0,
        ),
        StageConfig(
            "read", steps=1500, batch=16, size_px=96, hider_rate=6e-4, analyzer_rate=1e-3, stego_limit=4e-5,
            stego_weight=8000.0, reconstruct_weight=100.0, recover_weight=3.0,
        ),
        StageConfig(
            "joint", steps=240, batch=8, size_px=96, hider_rate=1e-4, analyzer_rate=5e-4, stego_limit=4e-5,
            stego_weight=8000.0, reconstruct_weight=30.0, seal_weight=1.0, blank=1, reply_limit=7e-5,
        ),
        StageConfig("look", steps=1000, batch=8, size_px=224, analyzer_rate=7e-4, pool=4188, exchanged=True),
        StageConfig("look", steps=1400, batch=8, size_px=224, analyzer_rate=7e-4, pool=4188, exchanged=True),
        StageConfig(
            "answer", steps=80, batch=4, size_px=224, analyzer_rate=1e-4, seal_weight=1.0, blank=1, frozen_norms=True,
            reply_limit=7e-5, pool=4188,
        ),
        StageConfig("look", steps=2400, batch=8, size_px=224, analyzer_rate=7e-4, pool=5584, exchanged=True),
        StageConfig(
            "answer", steps=120, batch=4, size_px=224, analyzer_rate=1e-4, seal_weight=1.0, blank=1, frozen_norms=True,
            reply_limit=7e-5, pool=5584,
        ),
        replace(READ_FULL, steps=2000),
        StageConfig(
            "look", steps=2800, batch=8, size_px=224, analyzer_rate=7e-4, pool=6980, exchanged=True, joined=True
        ),
        replace(LAST_JOINT, steps=400, hider_rate=1e-4, recover_weight=100.0, frozen_verdict=False),
        StageConfig(
            "follow", steps=3000, batch=8, size_px=224, analyzer_rate=7e-4, guide_weight=3.0, pool=6980, exchanged=True,
            joined=True,
        ),
        StageConfig(
            "answer", steps=160, batch=4, size_px=224, analyzer_rate=1e-4, seal_weight=1.0, blank=1, frozen_norms=True,
            reply_limit=7e-5, pool=6980,
        ),
        replace(LAST_JOINT, steps=400, hider_rate=1e-4, recover_weight=100.0, frozen_verdict=False),
        UNSEEN,
        replace(EVEN, steps=500, stray_weight=0.0),
        replace(VEILED, stray_weight=0.0),
    ),
    hider_of="busi-s",
    upright=False,
)  # fmt: skip

# Kvasir's hider hides colour, and its analyzer reads it already: it goes on with another question, and the verdict
# alone is new. Two thirds of the lesions are of one class: half of a batch is drawn class by class. In the end the
# hider learns at full size, and a plain network shows what there is to be seen. Its replies are cut off at one level
# without having learned it: to learn under the veil cost more (docs/research.md).
SKIN = Recipe(
    ModelConfig(
        "skin",
        task="classification",
        classes=("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
        hider=HiderConfig(growth=12),
        analyzer=AnalyzerConfig(width=8, levels=5, k=0, seal=3, classes=7),
        veil_reach=1,
    ),
    (
        StageConfig("look", steps=2500, batch=16, size_px=96, analyzer_rate=1e-3, pool=21504, exchanged=True),
        replace(READ_AGAIN, steps=1000),
        StageConfig("look", steps=2200, batch=8, size_px=224, analyzer_rate=7e-4, pool=7168, exchanged=True),
        replace(WRITE, pool=7168),
        LAST_JOINT,
        READ_FULL,
        StageConfig(
            "follow", steps=4600, batch=8, size_px=224, analyzer_rate=7e-4, guide_weight=3.0, pool=10752,
            exchanged=True, joined=True,
        ),
        replace(WRITE, pool=10752),
        replace(LAST_JOINT, steps=400, recover_weight=100.0),
        replace(UNSEEN, steps=400, frozen_verdict=True, seal_weight=2.0),
    ),
    start="kvasir",
    balanced=0.5,
    upright=False,
)  # fmt: skip

# The hider of busi-s has seen ultrasound alone and loses most of a slice: it learns on with what reads it. Plain
# networks then show what there is to be seen in a slice. All of that a second time, at full size and with pairs of
# slices, told more (docs/research.md, what was found).
CHESTCT = Recipe(
    ModelConfig(
        "chestct",
        task="classification",
        classes=("adenocarcinoma", "large_cell_carcinoma", "normal", "squamous_cell_carcinoma"),
        hider=HiderConfig(growth=12),
        analyzer=AnalyzerConfig(width=8, levels=5, k=0, seal=4, classes=4),
        veil_reach=1,
    ),
    (
        READ_AGAIN,
        StageConfig(
            "follow", steps=3000, batch=8, size_px=224, analyzer_rate=7e-4, guide_weight=2.0, pool=8388, exchanged=True
        ),
        StageConfig(
            "follow", steps=2400, batch=8, size_px=224, analyzer_rate=7e-4, guide_weight=5.0, pool=11184, exchanged=True
        ),
        replace(WRITE, pool=11184),
        LAST_JOINT,
        READ_FULL,
        StageConfig(
            "follow", steps=4000, batch=8, size_px=224, analyzer_rate=7e-4, guide_weight=3.0, pool=11184,
            exchanged=True, joined=True,
        ),
        replace(WRITE, pool=11184),
        replace(LAST_JOINT, recover_weight=100.0),
        replace(UNSEEN, steps=300, frozen_verdict=True),
        replace(EVEN, steps=300, frozen_verdict=True),
        replace(VEILED, steps=300, frozen_verdict=True),
    ),
    start="busi-s",
)  # fmt: skip

RECIPES = {recipe.model.name: recipe for recipe in (BUSI, BUSI_S, CHESTCT, KVASIR, LIGHT, PAPER, SKIN, *PAIRS)}
