"""`make docs`: redraws the pictures and rewrites the outputs that README.md shows, by running the commands it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FASTSIM = str(Path(sys.executable).parent / "fastsim")
# What README.md shows: a block between <!-- name --> and <!-- end -->, and the command that prints it.
OUTPUTS = {
    "demo": [
        "run",
        "tests/data/pp_ttbar_40.hepmc.zst",
        "--card",
        "cards/alice3.toml",
        "--out",
        "demo/ttbar.root",
        "--overwrite",
    ],
    "lut show": ["lut", "show", "alice3_v2"],
}
PICTURES = [
    ["lut", "plot", "alice3_v2", "--out", "docs/resolution.png", "--overwrite"],
    ["detector", "plot", "alice3_v2", "--out", "docs/layout.png", "--overwrite"],
]


def show(words: list[str]) -> str:
    """The command and what it prints on a terminal of 100 columns."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    result = subprocess.run(
        [FASTSIM, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    text = "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())
    return f"```console\n$ fastsim {' '.join(words)}\n{text}\n```"


def main() -> None:
    """Run everything and rewrite README.md."""
    (REPOSITORY / "demo").mkdir(exist_ok=True)
    for words in PICTURES:
        subprocess.run([FASTSIM, *words], cwd=REPOSITORY, check=True)
    readme = REPOSITORY / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, words in OUTPUTS.items():
        block = f"<!-- {name} -->\n{show(words)}\n<!-- end -->"
        text, n = re.subn(rf"<!-- {name} -->\n.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
        assert n == 1, f"README.md has {n} blocks called {name}"
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
