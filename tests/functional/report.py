#!/usr/bin/env python3
"""The report of `ringfence review --html`, in a real browser.

    python3 tests/functional/report.py --cli FILE --layer ZIP

Runs a function that is attacked, makes the report of its log, and opens it in Chromium: light, dark and narrow. There
axe-core looks for faults of accessibility, and the page must ask for nothing from a network and fit its window.
"""

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

AXE = "axe-core@4.10.3"
FUNCTION = """
import os, socket, subprocess

def handler(event, context):
    os.environ["AWS_SECRET_ACCESS_KEY"]
    for attempt in (
        lambda: subprocess.run(["/bin/sh", "-c", "id <script>alert(1)</script>"]),
        lambda: socket.create_connection(("evil.example", 443), 2),
        lambda: open("/proc/self/environ").read(),
    ):
        try:
            attempt()
        except OSError:
            pass
    open("/tmp/left", "w").write("x")
"""
POLICY = 'extends = "web-api"\n[egress]\nallow = []\n'
# Axe runs in the page and leaves its findings in an element, which --dump-dom prints.
RUN = """
addEventListener("load", () => axe.run(document, { resultTypes: ["violations"] }).then((found) => {
  const told = found.violations.map((each) => ({ id: each.id, nodes: each.nodes.map((node) => node.html) }));
  const wide = document.documentElement.scrollWidth > innerWidth;
  const loaded = performance.getEntriesByType("resource").length;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const out = document.createElement("output");
  out.id = "found";
  out.textContent = JSON.stringify({ violations: told, wide, loaded, dark, passes: found.passes.length });
  document.body.append(out);
}));
"""
WINDOWS = {
    "light": ["--window-size=1200,900"],
    "dark": ["--window-size=1200,900", "--blink-settings=preferredColorScheme=0"],
    "narrow": ["--window-size=500,900"],
}


def main():
    parser = argparse.ArgumentParser(description="Opens a report in a browser.")
    parser.add_argument("--cli", type=Path, required=True)
    parser.add_argument("--layer", type=Path, required=True)
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if not chromium or not shutil.which("npm"):
        print(f"skipped: report: no {'npm' if chromium else 'chromium (package chromium)'}")
        return 77
    with tempfile.TemporaryDirectory(prefix="ringfence-report-") as folder:
        page, records = report(options, Path(folder))
        problems = story(page, records)
        axe = fetched(Path(folder))
        for name, arguments in WINDOWS.items():
            problems += [f"{name}: {text}" for text in looked_at(chromium, page, axe, arguments, Path(folder), name)]
    print("\n".join(problems) or f"report: {len(WINDOWS)} windows, 0 faults")
    return 1 if problems else 0


def report(options, folder):
    """The page of a function that was attacked, and how many incidents JSON has."""
    code = folder / "code"
    code.mkdir()
    (code / "app.py").write_text(FUNCTION)
    (folder / "policy.toml").write_text(POLICY)
    (folder / "event.json").write_text("{}")
    command = [options.cli, "local", "invoke", "--code", code, "--handler", "app.handler", "--runtime", "python3"]
    command += ["--layer", options.layer, "--policy", folder / "policy.toml", "--output", "json", folder / "event.json"]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    (folder / "run.jsonl").write_text(run.stdout)
    page = folder / "report.html"
    review = [options.cli, "review", "--html", page, "--output", "json", folder / "run.jsonl"]
    answer = subprocess.run([str(part) for part in review], capture_output=True, text=True, timeout=60)
    if answer.returncode != 0:
        sys.exit(f"report: review ended with {answer.returncode}: {answer.stderr}\n{run.stderr}")
    return page.read_text(), json.loads(answer.stdout)


def story(page, records):
    """What a reader has to find."""
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    wanted = ["tried to start /bin/sh", "evil.example", "/proc/", "AWS_SECRET_ACCESS_KEY", "/tmp/left", "app.py:"]
    problems = [f"the report does not tell of {word}" for word in wanted if word not in text]
    if len(records["incidents"]) != 1:
        problems.append(f"one request is {len(records['incidents'])} incidents")
    if "<script" in page or re.search(r"(src|href)=\"(?!#)", page):
        problems.append("the report has a script or asks for something")
    return problems


def fetched(folder):
    subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True, capture_output=True, timeout=120)
    [archive] = folder.glob("axe-core-*.tgz")
    return subprocess.run(["tar", "-xOf", archive, "package/axe.min.js"], check=True, capture_output=True, text=True).stdout


def looked_at(chromium, page, axe, arguments, folder, name):
    file = folder / f"{name}.html"
    file.write_text(page.replace("</body>", f"<script>{axe}</script><script>{RUN}</script></body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", f"--user-data-dir={folder}/{name}"]
    run = subprocess.run(
        [chromium, *flags, *arguments, "--dump-dom", file.as_uri()], capture_output=True, text=True, errors="replace", timeout=180
    )
    found = re.search(r'<output id="found">(.*?)</output>', run.stdout, re.DOTALL)
    if not found:
        return [f"axe told nothing: {run.stderr[-400:]}"]
    found = json.loads(html.unescape(found.group(1)))
    problems = [f"axe: {each['id']}: {each['nodes'][:3]}" for each in found["violations"]]
    if found["passes"] < 10:
        problems.append(f"axe looked at {found['passes']} rules only")
    if found["wide"]:
        problems.append("the page is wider than its window")
    if found["loaded"]:
        problems.append("the page loads something")
    if found["dark"] != (name == "dark"):
        problems.append(f"dark is {found['dark']}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
