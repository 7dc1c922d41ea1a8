"""Refuses includes that the module table of the top CMakeLists.txt forbids.

usage: check_includes.py ROOT
"""
import pathlib
import re
import sys

# Headers of other projects, and the only place of each. Whoever may see them not at all says None.
PRIVATE = {
    r"zmq(_addon)?\.h(pp)?": r"proto/transport/.*",
    r"boost/process.*": r"coordinator/host/.*",
    r"boost/context/.*": r"worker/sched/.*",
    r"png\.h": r"worker/program/.*",
    r"elfutils/.*|dwarf\.h|(lib|g)elf\.h": r"coordinator/evidence/loaded_modules\..pp",
    r"CLI/.*|CLI11\.hpp": r"coordinator/cli/options\.cpp",
    r"(bulkhead/v1/|google/protobuf/).*": r"(?!.*\b(base|sched|program|transport)/).*",
}


def module_of(path):
    """The module whose rules hold for a file; mains and tests may use anything."""
    found = re.match(r"include/bulkhead/(\w+)/|proto/(transport|wire)/|worker/(sched|program|bench|crossing)/", path)
    if found:
        return next(group for group in found.groups() if group)
    if re.fullmatch(r"(worker|coordinator)/main\.cpp|tests/.*", path):
        return None
    found = re.match(r"(worker|coordinator)/", path)
    return found.group(1) if found else None


def included_module(header, path):
    """The module that an include reaches, or None when it is not one of ours."""
    found = re.match(r"bulkhead/(\w+)/", header)
    if found:
        return None if found.group(1) == "v1" else found.group(1)
    found = re.match(r"(worker|coordinator)/", header)
    if found:
        return found.group(1)
    parts = {"host", "supervise", "dispatch", "faults", "evidence", "report", "cli", "coordinator.hpp"}
    first = header.split("/")[0]
    if first in ("sched", "program", "bench", "crossing", "wire", "transport"):
        return first
    return "coordinator" if first in parts else None


def complaints(root):
    table = (root / "CMakeLists.txt").read_text()
    may_use = {name: set(uses.split()) - {'""'}
               for name, uses in re.findall(r"set\(BULKHEAD_MAY_USE_(\w+) ([^)]*)\)", table)}
    if not may_use:
        yield "CMakeLists.txt: the module table (BULKHEAD_MAY_USE_...) was not found"
    for folder in ("include", "proto", "worker", "coordinator", "tests"):
        for file in sorted((root / folder).rglob("*.[ch]pp")):
            path = file.relative_to(root).as_posix()
            module = module_of(path)
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
                found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
                if not found:
                    continue
                header, place = found.group(2), f"{path}:{number}"
                for pattern, where in PRIVATE.items():
                    if folder != "tests" and re.fullmatch(pattern, header) and not re.fullmatch(where, path):
                        yield f"{place}: <{header}> is private to another module"
                target = included_module(header, path)
                if module and target and target not in may_use.get(module, set()) | {module}:
                    yield f"{place}: module '{module}' may not use '{target}' ({header})"
                if folder == "include" and found.group(1) == '"':
                    yield f"{place}: a public header includes the private \"{header}\""


def main():
    found = list(complaints(pathlib.Path(sys.argv[1])))
    print("\n".join(found) if found else "includes: as the module table allows")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
