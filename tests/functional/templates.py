#!/usr/bin/env python3
"""Templates in deploy/: valid for the tools that read them, and true to the records and variables that they name.

    python3 tests/functional/templates.py

cfn-lint reads the SAM and CloudFormation templates, python-hcl2 the Terraform module. Each metric filter is held against the
records of docs/records.md: its pattern matches those that it is for, and no others.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "cache" / "templates"
PACKAGES = ["cfn-lint==1.38.3", "python-hcl2==7.3.1"]
# For each filter of the alarms the kinds of records that it counts.
COUNTED = {"Protections": {"protection"}, "Degraded": {"degraded"}, "Violations": {"violation"}}
LINES = {
    "Text": ("INIT_START Runtime Version: python:3.13.v1\tRuntime Version ARN: arn", "START RequestId: 1 Version: 7"),
    "JSON": ('{"time":"2026-11-22T01:02:03Z","type":"platform.initStart","record":{}}', '{"type":"platform.start"}'),
}


def main():
    packages()
    problems = lint() + terraform() + filters() + dashboard() + words()
    print("\n".join(problems) or "templates: 3 files, 0 problems")
    return 1 if problems else 0


def packages():
    if not CACHE.is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
        subprocess.run([*command, "--target", str(CACHE), *PACKAGES], check=True)
    sys.path.insert(0, str(CACHE))


def lint():
    files = [str(ROOT / "deploy" / name) for name in ("sam/template.yaml", "cloudformation/alarms.yaml")]
    command = [sys.executable, str(CACHE / "bin" / "cfn-lint"), "--format", "parseable", *files]
    run = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(CACHE), "PATH": "/usr/bin:/bin"})
    return [] if run.returncode == 0 else [f"cfn-lint: {line}" for line in (run.stdout + run.stderr).splitlines()]


def template(name):
    """A template as data; functions of CloudFormation as their tags and arguments."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def tagged(loader, suffix, node):
        made = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: loader.construct_sequence}
        return {suffix: made.get(type(node), loader.construct_mapping)(node)}

    Loader.add_multi_constructor("!", tagged)
    return yaml.load((ROOT / "deploy" / name).read_text(), Loader)


def terraform():
    import hcl2

    module = hcl2.loads((ROOT / "deploy/terraform/main.tf").read_text())
    # The parser of some versions keeps the quotes of labels.
    names = {name.strip('"') for block in module["variable"] + module["output"] for name in block}
    wanted = {"layer_arn", "policy", "wrapper", "layers", "environment"}
    return [] if names == wanted else [f"terraform: {sorted(names)} instead of {sorted(wanted)}"]


def filters():
    resources = template("cloudformation/alarms.yaml")["Resources"]
    records = documented()
    problems = []
    for name, kinds in COUNTED.items():
        pattern = resources[name]["Properties"]["FilterPattern"]
        counted = {record["ringfence"]["kind"] for record in records if matches(pattern, json.dumps(record))}
        if counted != kinds:
            problems.append(f"{name}: counts {sorted(counted)} instead of {sorted(kinds)}")
    low = {"ringfence": {"kind": "violation", "severity": "low"}}
    if matches(resources["Violations"]["Properties"]["FilterPattern"], json.dumps(low)):
        problems.append("Violations: counts one of low severity")
    _, text, as_json = resources["Starts"]["Properties"]["FilterPattern"]["If"]
    for pattern, (start, other) in ((text, LINES["Text"]), (as_json, LINES["JSON"])):
        if not matches(pattern, start) or matches(pattern, other):
            problems.append(f"Starts: {pattern} does not tell a start from other lines")
    return problems


def documented():
    """The example records of docs/records.md, each kind."""
    blocks = re.findall(r"```json\n(\{.*\})\n```", (ROOT / "docs" / "records.md").read_text())
    records = [json.loads(block) for block in blocks]
    kinds = {record["ringfence"]["kind"] for record in records}
    assert {"protection", "violation", "degraded", "residue", "summary", "activity"} <= kinds, kinds
    return records


def matches(pattern, line):
    """Whether a filter pattern matches a line, for what the templates use of that language."""
    if not pattern.startswith("{"):
        return pattern.strip('"') in line
    try:
        record = json.loads(line)
    except ValueError:
        return False

    def value(path):
        found = record
        for part in path.split(".")[1:]:
            found = found.get(part) if isinstance(found, dict) else None
        return found

    terms = re.sub(r'(\$[\w.]+) = ("[^"]*")', lambda term: str(value(term[1]) == json.loads(term[2])), pattern.strip("{} "))
    logic = terms.replace("&&", " and ").replace("||", " or ")
    assert re.fullmatch(r"[()\s]*((True|False|and|or)[()\s]*)+", logic), f"a pattern that this test does not read: {pattern}"
    return eval(logic)


def dashboard():
    body = template("cloudformation/alarms.yaml")["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Sub"]
    widgets = json.loads(body)["widgets"]
    return [] if len(widgets) == 4 else ["the dashboard has lost a widget"]


def words():
    """Variables and paths are those that the layer reads."""
    known = set(re.findall(r"RINGFENCE\w*", (ROOT / "docs" / "wrappers.md").read_text())) | {"RINGFENCE_POLICY"}
    problems = []
    for file in sorted((ROOT / "deploy").rglob("*")):
        if file.is_file():
            text = file.read_text()
            problems += [f"{file.name}: no variable {name}" for name in set(re.findall(r"RINGFENCE_\w+", text)) - known]
            wrappers = set(re.findall(r'AWS_LAMBDA_EXEC_WRAPPER\W+(/[\w/-]+)', text))
            problems += [f"{file.name}: wrapper {path}" for path in wrappers - {"/opt/ringfence-exec"}]
    return problems


if __name__ == "__main__":
    sys.exit(main())
