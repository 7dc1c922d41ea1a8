"""Sums up ctest's JUnit files: skipped tests and why, the slowest, and the totals as last line.

usage: summary.py FILE.xml...   (the name of a file is the name of its run)
"""
import os
import re
import sys
import xml.etree.ElementTree as ElementTree


def skip_reason(case):
    """GoogleTest prints 'FILE:LINE: Skipped' and then the reason."""
    output = case.findtext("system-out") or ""
    found = re.search(r": Skipped\n(.+?)(?=\n\s*\n|\n\[|\Z)", output, re.S)
    if found:
        return " ".join(found.group(1).split())
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"


def outcome(case):
    skipped = case.find("skipped")
    if case.find("failure") is not None or case.get("status") == "fail":
        return "failed"
    if case.get("status") == "disabled":
        return "skipped"
    if skipped is not None or case.get("status") == "notrun":
        # ctest calls a test 'notrun' as well when its program is missing: that is no skip.
        message = skipped.get("message", "") if skipped is not None else ""
        return "skipped" if message.startswith("SKIP_") else "failed"
    return "passed"


def main(paths):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    skips, failures, durations = [], [], []
    for path in paths:
        if not os.path.exists(path):
            continue
        run = os.path.splitext(os.path.basename(path))[0]
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            result = outcome(case)
            name = f"{case.get('name')} ({run})"
            counts[result] += 1
            durations.append((float(case.get("time", "0")), name))
            if result == "skipped":
                skips.append(f"{name}: {skip_reason(case)}")
            elif result == "failed":
                failures.append(name)
    print("failed tests:" if failures else "no test failed")
    for name in failures:
        print(f"  {name}")
    print("skipped tests and why:" if skips else "no test was skipped")
    for line in skips:
        print(f"  {line}")
    print("slowest tests:")
    for seconds, name in sorted(durations, reverse=True)[:10]:
        print(f"{seconds:8.2f} s  {name}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")


main(sys.argv[1:])
