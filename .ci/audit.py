"""Known vulnerabilities of the locked runtime dependencies; loud when the advisory database cannot be reached."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

UV = Path(".tools/uv/bin/uv")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / "requirements.txt"
        export = [UV, "export", "--frozen", "--quiet", "--no-emit-project", "--all-extras", "--no-dev"]
        subprocess.run([*export, "--output-file", locked], check=True, stdout=subprocess.DEVNULL)
        audit = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            locked,
            "--disable-pip",
            "--require-hashes",
        ]
        done = subprocess.run(
            [*audit, "--progress-spinner", "off", "--timeout", "10", "--format", "json"],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
    try:
        report = json.loads(done.stdout)["dependencies"]
    except ValueError:
        sys.stderr.write(f"SKIPPED: dependency audit: {done.stderr.strip().splitlines()[-1:]}\n")
        return 0
    skipped = [row["name"] for row in report if "skip_reason" in row]
    found = [(row["name"], flaw["id"]) for row in report for flaw in row.get("vulns", [])]
    for name, advisory in found:
        sys.stderr.write(f"{name}: {advisory}\n")
    if len(skipped) == len(report):
        sys.stderr.write("SKIPPED: dependency audit: the advisory database cannot be reached from here\n")
    else:
        sys.stdout.write(f"dependency audit: {len(report) - len(skipped)} audited, {len(found)} advisories\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
