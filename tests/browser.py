"""Opens a report's page in a real Chromium, on a phone, on a desktop and in print: ``python -m tests.browser [PAGE]``.

It is a command, not a test that may be skipped: it fails where there is no Chromium (Debian: ``apt-get install
chromium``). Without PAGE it renders the sample report. What it saw is left in build/page: two screenshots and a PDF.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from html import escape, unescape
from pathlib import Path

from tests.sample_report import sample

from hidemia.benchmarks.report import page, words

SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

# Appended to a copy of the page, whose own has no script: it looks around and writes down what it found.
LOOK = """<script>window.addEventListener("load", () => {
  const box = element => element.getBoundingClientRect();
  const found = {
    width: innerWidth,
    overflow: document.documentElement.scrollWidth - innerWidth,
    broken: [...document.images].filter(image => !image.naturalWidth).map(image => image.alt),
    sections: [...document.querySelectorAll("section")].filter(s => box(s).height > 20).map(s => s.id),
    outside: [...document.querySelectorAll("h2, p, figure, .facts li, .table")]
      .filter(e => box(e).right > innerWidth + 1).map(e => e.textContent.slice(0, 40)),
    loaded: performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:")),
    facts: Math.max(...[...document.querySelectorAll(".facts li")].map(e => box(e).bottom)),
  };
  parent.document.getElementById("found").textContent = JSON.stringify(found);
})</script></body>"""

# A window has no fewer than 500 pixels; a frame of the same origin has as many as it is given.
FRAME = """<!doctype html><pre id="found"></pre><iframe width="{}" height="{}" style="border:0" srcdoc="{}"></iframe>"""


def browser() -> str:
    """The Chromium of this machine, or the one that $CHROMIUM names."""
    names = filter(None, (os.environ.get("CHROMIUM"), *NAMES))
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit("expected chromium, got none; apt-get install chromium, or set CHROMIUM")
    return found


def run(*arguments: str) -> str:
    """Chromium without a window, a network or a sandbox, which containers have none of; what it wrote."""
    with tempfile.TemporaryDirectory() as profile:
        quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}")
        offline = ("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking")
        done = subprocess.run(
            [browser(), *quiet, *offline, *arguments], capture_output=True, text=True, timeout=120, check=True
        )
    return done.stdout


def complaints(text: str, size: tuple[int, int]) -> list[str]:
    """What is wrong with a page in a window of this size."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.html"
        file.write_text(FRAME.format(*size, escape(text.replace("</body>", LOOK))))
        dom = run("--window-size=1600,1200", "--virtual-time-budget=5000", "--dump-dom", file.as_uri())
    match = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    if match is None:
        return ["the page did not load"]
    found = json.loads(unescape(match[1]))
    wrong = [f"{name}: {found[name]}" for name in ("broken", "outside", "loaded") if found[name]]
    if found["width"] != size[0]:
        wrong.append(f"the window is {found['width']} px wide")
    if found["overflow"] > 0:
        wrong.append(f"it scrolls sideways by {found['overflow']} px")
    if found["sections"] != list(words.TITLES):
        wrong.append(f"sections that are seen: {found['sections']}")
    if size[0] > 1000 and found["facts"] > size[1]:
        wrong.append(f"the facts end at {found['facts']:.0f} px, below the first screen")
    return wrong


def main(arguments: list[str]) -> int:
    """0 where nothing is wrong."""
    text = Path(arguments[0]).read_text() if arguments else page.render(sample())
    out = Path("build/page")
    out.mkdir(parents=True, exist_ok=True)
    file = out / "page.html"
    file.write_text(text)
    wrong = {name: complaints(text, size) for name, size in SIZES.items()}
    for name, (width, height) in SIZES.items():
        shot = f"--screenshot={out / name}.png"
        run(f"--window-size={width},{height}", shot, file.resolve().as_uri())
    run("--no-pdf-header-footer", f"--print-to-pdf={out / 'print.pdf'}", file.resolve().as_uri())
    if (out / "print.pdf").read_bytes()[:5] != b"%PDF-":
        wrong["print"] = ["no PDF"]
    for name, found in wrong.items():
        sys.stdout.write(f"{name}: {'; '.join(found) or 'as it should be'}\n")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
