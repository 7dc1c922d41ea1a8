"""The top level holds what it should and nothing else; no file is too long, unfinished or of one machine.

usage: check_tree.py ROOT
"""
import os
import pathlib
import re
import subprocess
import sys

TOP = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "coordinator", "worker", "proto",
       "include", "tests", "deploy"}
LINES = 500
# Written so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE = re.compile(r"(?<![\w.$}/-])/(work|root|home|Users|mnt)/[A-Za-z0-9_.-]+"
                     r"|https?://(localhost|127\.|10\.|192\.168\.|[\w.-]+[.]internal\b)")
ALLOWED_PATHS = re.compile(r"/home/user/bulkhead|/home/user\b")  # of the clean room's own user
# The licence is not ours to shorten; a deliberate broken-input file would be listed here.
EXEMPT = {"LICENSE"}


def tracked(root):
    git = subprocess.run(["git", "-c", f"safe.directory={root}", "-C", root, "ls-files", "-z"],
                         capture_output=True)
    if git.returncode == 0 and git.stdout:
        return [name for name in git.stdout.decode().split("\0") if name]
    # Not a clone (an unpacked archive): everything but build results.
    return [path.relative_to(root).as_posix() for path in pathlib.Path(root).rglob("*")
            if path.is_file() and not path.relative_to(root).parts[0] in (".git", "build", ".cache")]


def complaints(root):
    names = tracked(root)
    for top in sorted({name.split("/")[0] for name in names}):
        if top not in TOP and not top.startswith("."):
            yield f"{top}: not a name for the top level (see README.md)"
    for name in names:
        path = os.path.join(root, name)
        if name in EXEMPT or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            data = file.read()
        if b"\0" in data:
            continue
        lines = data.decode(errors="replace").splitlines()
        if len(lines) > LINES:
            yield f"{name}: {len(lines)} lines; more than {LINES} hold two ideas: split it"
        for number, line in enumerate(lines, 1):
            if UNFINISHED.search(line):
                yield f"{name}:{number}: unfinished: {line.strip()}"
            if MACHINE.search(ALLOWED_PATHS.sub("", line)):
                yield f"{name}:{number}: a path or host of one machine: {line.strip()}"


def main():
    found = list(complaints(sys.argv[1]))
    print("\n".join(found) if found else "tree: in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
