"""Make the picture of a report that README.md and the documentation begin with.

python -m tools.report_picture build/audit/report.html        (of ``make audit``; needs Chromium)
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "_static" / "report.png"
#: Of the window, in pixels; what comes below the first paragraphs is cut off.
WIDTH, HEIGHT = 1100, 815


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args(arguments)
    browsers = [found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))]
    if not browsers:
        raise SystemExit("No Chromium was found on the path; install it.")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [browsers[0], "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--screenshot={shot}", f"--window-size={WIDTH},{HEIGHT}", options.report.resolve().as_uri()]
        subprocess.run(command, check=True)
        # Of few colours: a page of text is.
        Image.open(shot).convert("RGB").quantize(64).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
