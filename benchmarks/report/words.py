"""The sentences of a report: titles, introductions, and the method. Everything else in it is data."""

from __future__ import annotations

HEADLINE = (
    "HideMIA hides a medical scan inside an ordinary photo on the imaging device. A server analyses the photo without "
    "ever extracting the scan, and answers with another photo. The device finds the result in it. Whoever looks at the "
    "wire or at the server's disk sees photos. This page says what that costs on one machine, and how visible it is. "
    "The ordinary photo is the cover; with the scan in it, it is the stego; what the server answers with is the reply."
)

TITLES = {
    "targets": "Speed targets",
    "quality": "What the model reaches",
    "trip": "The trip by stage",
    "hide": "Latency: hide",
    "analyze": "Latency: analyze",
    "recover": "Latency: recover",
    "throughput": "Throughput against batch",
    "limits": "The machine's limits",
    "files": "What is deployed",
    "networks": "The networks of the paper",
    "table7": "Table 7 of the paper, and its factor 3",
    "visibility": "How visible it is",
    "attacks": "What an attacker finds",
    "power": "Power",
    "environment": "Environment",
    "method": "Method",
    "failures": "Not measured",
}
"""Every section, in order; its key is its anchor."""

INTRODUCTIONS = {
    "targets": (
        "Those in x and % are ratios of medians within this run (peak_share: of bests): a slower machine changes both "
        "sides. Spread is half of the range of 90 % of what comes out when its rounds are drawn anew. The plain export "
        "is the network as PyTorch writes it to ONNX. MoDC, the paper's mixture of difference convolutions, is six "
        "convolutions as printed, and one as deployed here."
    ),
    "quality": (
        "After the 8-bit PNG, on a test split; worst is the worst single photo. The speed of a wrong engine is worth "
        "nothing: how far each engine is from PyTorch stands beside its times below."
    ),
    "trip": (
        "A scan is read from its file, scaled, hidden and sent through a server process on this machine, which writes "
        "an audit line to its disk. Every stage is timed in every trip. HTTP is what the exchange took beyond the "
        "server's own stages, the audit line included. The rest is what no stage accounts for."
    ),
    "throughput": "Images a second of one engine on all threads: all images over all time.",
    "limits": (
        "Measured between the engines' runs, on as many threads: NumPy's best float32 matrix product, and a copy of "
        "256 MiB. The last columns of the latency tables are each engine's share of them. A form with fewer "
        "multiplications is counted with those it has. An engine that fuses nodes moves less than the traffic that is "
        "counted, so its share of the copy rate may exceed 100 %."
    ),
    "files": "What one run at batch 1 takes of each file of the bundles.",
    "networks": (
        "Counted twice at batch 1: by fvcore on the module, and apart from it on its exported graph. Counted are "
        "convolutions and matrix products; norms (2 for each element of a batch norm in inference) and pools stand "
        "apart, because exporting folds them. Deployed files differ from these: they pad 12 channels to 16, leave out "
        "what nobody needs, recover from two photos, and some have fewer multiplications."
    ),
    "table7": (
        "HiNet, LightIH and HiDDeN in the paper's table are exactly three times a forward pass. That fits a count "
        "on a batch of three, or forward and backward counted as 1 and 2; it is not hide and recover, which would "
        "be two. Which one it is, the paper does not say. Its rows are also not like for like: HiNet and LightIH "
        "count one direction, HiDDeN and DeepStega count hiding and revealing. So hide, recover and their sum stand"
        " here for all. DeepStega as published does not fit; with 24 maps of the secret instead of 7 it does, which"
        " is a fit and no evidence. G are 10^9 multiply-adds as fvcore counts them, norms included; M are 10^6 "
        "parameters."
    ),
    "visibility": "Simulated scans in simulated photos, after PNG. Differences are signed, amplified, around mid grey.",
    "attacks": (
        "How well stego and reply are told from covers, by attackers who know nothing, the architecture, or the exact "
        "weights; what subtraction, networks trained on leaked pairs and recover networks take out of them. Where the "
        "controls did not hold, no other figure of this section is to be believed."
    ),
    "failures": "Everything that was to be here and is not.",
}

PAPERS = (
    "The same networks with random weights, exported by torch.onnx.export as they are, between the 8-bit photos of a "
    "trip, in ONNX Runtime at its defaults. Recover takes two photos: what was sent, and the reply."
)

METHOD = [
    (
        "Each engine runs in a process of its own, kept on as many cores as it has threads, so that memory, load and "
        "first run are its own. All rivals of a verb, batch and thread count are loaded; then each makes one run a "
        "round, in turn, after a pause in which the threads of the one before come to rest. Whatever slows the machine "
        "for a moment then slows all rivals."
    ),
    (
        "Every run is kept: no outlier is clipped, and rates are all images over all time. Spread is half of the "
        "interquartile range over the median. With few runs the highest percentiles are close to the maximum."
    ),
    (
        "Bundles run in the runtime's own engines with its settings, uint8 in and out, copies included. Plain exports "
        "run in the same engines at their defaults. PyTorch runs the trained network as it is written. All are held "
        "against PyTorch eager in float32 on the same input in the same run."
    ),
]
