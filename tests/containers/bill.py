#!/usr/bin/env python3
"""Whether a bill of materials (CycloneDX) names the crates that the binary itself says it is made of.

    rust-audit-info BINARY | bill.py CYCLONEDX
"""

import json
import re
import sys

with open(sys.argv[1]) as file:
    bill = json.load(file)
carried = json.load(sys.stdin)["packages"]

# The package itself is described apart from what it is made of.
listed = {(c["name"], c["version"]) for c in bill["components"]}
itself = bill["metadata"]["component"]
crates = {(p["name"], p["version"]) for p in carried if p["source"] == "crates.io"}
root = [(p["name"], p["version"]) for p in carried if p.get("root")]

if len(crates) < 100 or root != [(itself["name"], itself["version"])]:
    sys.exit(f"the binary's list is not one of ours: {len(crates)} crates, root {root}")
if missing := sorted(crates - listed):
    sys.exit(f"in the binary, and not in the bill: {missing}")
# A crate that is in no binary would have its flaws reported for nothing.
if more := sorted(listed - crates):
    sys.exit(f"in the bill, and not in the binary: {more}")
for component in bill["components"]:
    purl = f"pkg:cargo/{component['name']}@{component['version']}"
    if not re.fullmatch(re.escape(purl) + r"(\?.*)?", component["purl"].replace("%2B", "+")):
        sys.exit(f"{component['purl']}: not {purl}")
print(f"{len(crates)} crates, in the bill as in the binary")
