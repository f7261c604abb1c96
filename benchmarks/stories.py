"""What a card says that no measurement tells: what a model is for, what it was trained on, how, and its limits."""

from __future__ import annotations

from dataclasses import dataclass

DRAWN = "; one that `hidemia` draws has twice as many for test"


@dataclass(frozen=True)
class Story:
    """The sentences of one model's card.

    Attributes:
        what: What the model does, in a few words.
        data: The data set, as the command lines call it.
        images: What the test images are.
        splits: How many are in train, val and test, of how many.
        bundles: The folder of the client's and the server's bundle.
        trained: On what, and on which machine.
        command: How it was trained.
        history: Where the training was not what the command alone would do.
        limits: What it has never seen.
        plain: With which options the plain network was trained, which is not always as the model was.
        split: How the split differs from those that others use, after a semicolon.
    """

    what: str
    data: str
    images: str
    splits: str
    bundles: str
    trained: str
    command: str
    history: str
    limits: str
    plain: str = ""
    split: str = DRAWN


BUSI_TRAINED = (
    "454 images of BUSI and 120 simulated scans (`python -m hidemia.runtime.demo.scan --count 120 --seed 1000 --out "
    "SIMULATED`), 512 photos (BSDS500 and COCO) as covers. "
    "BUSI carries no patient identity: images of one patient may lie on both sides of the split, although near-copies "
    "were kept together."
)
BUSI_LIMITS = (
    "Trained on single frames with one lesion each, from one hospital: it has never seen a scan without a lesion and "
    "will often outline something in one."
)
STORIES = {
    "busi-s": Story(
        what="Breast lesions in ultrasound, outlined",
        data="BUSI",
        images="images with a lesion",
        splits="454 / 65 / 64 of 647",
        bundles="runtime/bundles/busi-s",
        trained=(
            f"{BUSI_TRAINED} The hider began as that of `light`, which learned on the same images from the weights of "
            "busi. One core of an Intel Xeon with AVX-512, float32, about an hour and a half:"
        ),
        command=(
            "hidemia train busi-s --data BUSI --simulated SIMULATED --covers COVERS --start runs/light/weights "
            "--precision 32-true"
        ),
        history=(
            "Stages 5 to 7 went on from the rounded weights of stage 4, which are `weights/busi-s` of commit e364a29 "
            "(`--start` them with `--first-stage 5`), in bfloat16 on one core of an AMD EPYC with AVX-512, an hour "
            "beside other work. Stage 8 went on from the rounded weights of stage 7, those of commit b194f36, in "
            "bfloat16 on one core of an AMD EPYC (Zen 5), 20 minutes beside other work; so did stage 9 from those of "
            "commit 6888438, and stage 10 from those of commit 37b7390, 20 minutes each. Stage 11 went on from those "
            "of commit d9c5fd3, in bfloat16 on one core of an AMD EPYC (Zen 4), 35 minutes beside other work. In stage "
            "10 the gradient passed straight through what was cut off, which it does not now."
        ),
        limits=BUSI_LIMITS,
        plain="--rate 1e-3",
    ),
    "kvasir": Story(
        what="Polyps in endoscopy, outlined",
        data="Kvasir-SEG",
        images="images with a polyp",
        splits="698 / 100 / 100 of 1,000",
        bundles="build/bundles/kvasir",
        trained=(
            "698 images of Kvasir-SEG, 512 photos (BSDS500 and COCO) as covers. Kvasir-SEG carries no patient "
            "identity: frames of one patient may lie on both sides of the split, although near-copies were kept "
            "together. One core of an AMD EPYC with AVX-512, bfloat16, an hour and a half beside other work:"
        ),
        command=(
            "hidemia train plain-kvasir --data Kvasir-SEG --rate 1e-3\n"
            "    hidemia train kvasir --data Kvasir-SEG --covers COVERS --start weights/busi-s "
            "--plain runs/plain-kvasir/weights"
        ),
        history=(
            "It started with the hider of busi-s of commit e364a29, which had never seen colour. Stages 3 and 6 were "
            "added, and the rate of stage 7 chosen, by what `val` said on the way. Stages 8 and 9 went on from the "
            "rounded weights of the stages before, in a run of their own, three quarters of an hour beside other work, "
            "and so did stages 10 to 12, an hour and a half, and stages 13 to 15, an hour on one core of an Intel Xeon "
            "with AVX-512 and AMX, from the weights of commit 4ff37e3; the heads that help training and are thrown "
            "away began anew. So they did in stage 16, which went on from the rounded weights of stage 15, those of "
            "commit b194f36, on one core of an AMD EPYC (Zen 5), 20 minutes beside other work, in stage 17 from those "
            "of commit 6888438, 25 minutes, and in stage 18 from those of commit 37b7390, 20 minutes. In stage 18 the "
            "gradient passed straight through what was cut off, which it does not now. The plain network that stage 13 "
            "follows is the one it is compared with."
        ),
        plain="--rate 1e-3",
        limits=(
            "Trained on single frames with a polyp each: it has never seen a frame without one and will often outline "
            "something in it."
        ),
    ),
    "skin": Story(
        what="Pigmented skin lesions, told apart by seven kinds,",
        data="HAM10000",
        images="images of a lesion",
        splits="7,012 / 1,004 / 1,000 of 10,015",
        bundles="build/bundles/skin",
        trained=(
            "7,012 images of HAM10000, two thirds of them of one class; half of each batch is drawn class by class. "
            "512 photos (BSDS500 and COCO) as covers; the weights of kvasir of commit e364a29. One core of an Intel "
            "Xeon with AVX-512, bfloat16, an hour and a half beside other work:"
        ),
        command=(
            "hidemia train plain-skin --data HAM10000 --rate 3e-4\n"
            "    hidemia train skin --data HAM10000 --covers COVERS --start weights/kvasir "
            "--plain runs/plain-skin/weights"
        ),
        history=(
            "While it learned to write the class, what judges stayed as it was (`frozen_verdict`); in stages 4 and 5 "
            "it was told the label instead of what was judged. Stages 2 and 5 were added by what `val` said on the "
            "way. Stages 6 to 9 went on from the rounded weights of the stages before, which are `weights/skin` of "
            "commit 2bc6c94 and had the shares of training taken off their verdict, in a run of their own, on one core "
            "of an AMD EPYC (Zen 5), an hour and a quarter beside other work; stage 7 had 2,600 steps to begin with, "
            "and was lengthened when 1,400 were done. Stage 10 went on from the rounded weights of stage 9, those of "
            "commit b194f36, on such a core, 20 minutes beside other work. The plain network that it follows is the "
            "one it is compared with. It has not learned under its veil: replies are cut off at one level, and their "
            "limits were set anew for that."
        ),
        limits=(
            "What it gives as probabilities is as if all kinds were equally frequent, which is not how likely a "
            "disease is. Of the melanomas of test it names 0.58. It has never seen skin without a lesion, nor one of "
            "another kind, and names one of the seven for anything."
        ),
        plain="--rate 3e-4",
        split="; no lesion is on both sides, and DermaMNIST, made of the same images, has twice as many for test",
    ),
    "chestct": Story(
        what="Slices of chest CT, told apart by three cancers and none,",
        data="ChestCT",
        images="slices",
        splits="699 / 101 / 100 of 1,000",
        bundles="build/bundles/chestct",
        trained=(
            "699 images of ChestCT, 512 photos (BSDS500 and COCO) as covers; the weights of busi-s of commit e364a29. "
            "ChestCT carries no patient identity: slices of one patient may lie on both sides of the split, although "
            "near-copies were kept together. One core of an Intel Xeon with AVX-512, bfloat16, two hours beside other "
            "work, and half an hour for the plain network that it follows, which has learned under noise:"
        ),
        command=(
            "hidemia train plain-chestct --data ChestCT --noise 4 --out runs/followed\n"
            "    hidemia train chestct --data ChestCT --covers COVERS --start weights/busi-s "
            "--plain runs/followed/weights"
        ),
        history=(
            "While it learned to write the class, what judges stayed as it was (`frozen_verdict`), and it was told the "
            "label instead of what was judged. Stages 3 and 5 were added by what `val` said on the way. One plain "
            "network was followed, at its deepest level alone. In stage 2 it was shown slices without the noise it had "
            "learned under, by mistake, so it saw less; in stages 2 and 3 the label was asked for, where stage 7 asks "
            "for what the plain network takes a slice for. Stages 6 to 9 went on from the rounded weights of the "
            "stages before, in a run of their own, on one core of an AMD EPYC with AVX-512, an hour beside other work; "
            "the plain network that stage 7 follows was trained anew by the same command, half an hour, and has a "
            "balanced accuracy of 0.900 on `val`. Stage 10 went on from the rounded weights of stage 9, those of "
            "commit b194f36, on one core of an AMD EPYC (Zen 5), a quarter of an hour beside other work; so did "
            "stage 11 from those of commit 6888438, and stage 12 from those of commit 37b7390. Commits up to d6db2c8 "
            "made both plain networks, which judged one by its last step (docs/research.md). What is added to the "
            "logits was set after stage 9, by `python -m hidemia.training.thresholds`, and again at the end of the "
            "runs of stages 10, 11 and 12. In stage 12 the gradient passed straight through what was cut off, which it "
            "does not now."
        ),
        limits=(
            "The 21 normal slices of test are of six groups of near-copies; it takes most of what is read of "
            "those of two groups, 5 slices, for a cancer, of the others nothing. The plain network beside it is the "
            "weakest of three: "
            "the others had 0.896 and 0.923 on test (docs/research.md). Trained on single slices in the window they "
            "were saved in, some of them with marks; it has never seen another cancer, nor any other disease of the "
            "lung, and names one of the four for anything."
        ),
        plain="--rate 3e-4",
        split="; the official split, which is another, has copies of images on both sides",
    ),
    "busi": Story(
        what="Breast lesions in ultrasound, outlined",
        data="BUSI",
        images="images with a lesion",
        splits="454 / 65 / 64 of 647",
        bundles="build/bundles/busi",
        trained=f"{BUSI_TRAINED} Two cores of an AMD EPYC (Zen 5), bfloat16, about 90 minutes:",
        command="hidemia train busi --data BUSI --simulated SIMULATED --covers COVERS",
        history=(
            "Stages 5 and 6 each went on from the rounded weights of the stages before (`--start weights/busi "
            "--first-stage 5`, then 6), on an AMD EPYC (Zen 4), on one core, in about ten minutes and one hour. "
            "The first stage saw 160 scans of an earlier draft of the simulator instead of the 120. The analyzer's "
            "kernels were drawn as for plain convolutions, not as `training/modc.py` draws them now."
        ),
        limits=BUSI_LIMITS,
        plain="--rate 1e-3",
    ),
}
"""By the model's name; a model is shipped when its weights and figures are in ``weights/``."""
