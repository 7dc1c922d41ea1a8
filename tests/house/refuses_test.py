"""The house checks can fail: each is given a small tree with one fault and must name it.

usage: refuses_test.py ROOT
"""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv.pop(1))
TABLE = (ROOT / "CMakeLists.txt").read_text()
INCLUDES = "tests/support/check_includes.py"
TREE = "tests/house/check_tree.py"
PACKAGES = "tests/house/check_packages.py"

# check, file with the fault, its text, what the complaint must say
FAULTS = [
    (INCLUDES, "worker/worker.cpp", "#include <bulkhead/coordinator/x.hpp>\n", "may not use 'coordinator'"),
    (INCLUDES, "worker/worker.cpp", '#include "dispatch/ledger.hpp"\n', "may not use 'coordinator'"),
    (INCLUDES, "coordinator/coordinator.cpp", "#include <bulkhead/sched/go.hpp>\n", "may not use 'sched'"),
    (INCLUDES, "coordinator/host/a.cpp", '#include "sched/queues.hpp"\n', "may not use 'sched'"),
    (INCLUDES, "proto/wire/codec.cpp", "#include <bulkhead/transport/zmq.hpp>\n", "may not use 'transport'"),
    (INCLUDES, "worker/worker.cpp", "#include <zmq.hpp>\n", "private to another module"),
    (INCLUDES, "coordinator/main.cpp", "#include <CLI/CLI.hpp>\n", "private to another module"),
    (INCLUDES, "coordinator/cli/doctor.cpp", "#include <boost/process.hpp>\n", "private to another module"),
    (INCLUDES, "worker/worker.cpp", "#include <boost/context/fiber.hpp>\n", "private to another module"),
    (INCLUDES, "coordinator/report/a.cpp", "#include <elfutils/libdwfl.h>\n", "private to another module"),
    (INCLUDES, "worker/sched/timers.cpp", "#include <bulkhead/v1/common.pb.h>\n", "private to another module"),
    (INCLUDES, "include/bulkhead/base/a.hpp", '#include "sched/a.hpp"\n', "public header"),
    (TREE, "scripts/run", "true\n", "not a name for the top level"),
    (TREE, "worker/long.cpp", "int x;\n" * 501, "501 lines"),
    (TREE, "worker/later.cpp", "// TO" "DO: later\n", "unfinished"),
    (TREE, "worker/here.cpp", '"/ho' 'me/someone/x"\n', "one machine"),
    (PACKAGES, "worker/CMakeLists.txt", "find_package(TBB REQUIRED)\n", "does not know"),
    (PACKAGES, "deploy/packages/build.txt", "libfmt-dev\nemacs\n", "lists emacs"),
    (PACKAGES, "deploy/packages/build.txt", "libfmt-dev\n", "lacks libspdlog-dev"),
]
# What must pass: the same places, used as they may be.
FINE = [
    (INCLUDES, "worker/worker.cpp", "#include <bulkhead/sched/go.hpp>\n#include <bulkhead/v1/control.pb.h>\n"),
    (INCLUDES, "coordinator/host/a.cpp", '#include <boost/process.hpp>\n#include "dispatch/ledger.hpp"\n'),
    (INCLUDES, "tests/unit/a.cpp", '#include <zmq.hpp>\n#include "sched/queues.hpp"\n'),
    (TREE, "worker/short.cpp", "int x;\n" * 500),
]


def run(check, path, text):
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder)
        (tree / "CMakeLists.txt").write_text(TABLE)
        (tree / "deploy/packages").mkdir(parents=True)
        (tree / "tests").mkdir()
        for name in ("build", "test"):
            (tree / f"deploy/packages/{name}.txt").write_text(
                (ROOT / f"deploy/packages/{name}.txt").read_text())
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
        return subprocess.run([sys.executable, ROOT / check, tree], capture_output=True, text=True)


failures = 0
for check, path, text, expected in FAULTS:
    result = run(check, path, text)
    if result.returncode != 1 or expected not in result.stdout:
        failures += 1
        print(f"{check} let pass in {path}: {text[:60]!r} (wanted '{expected}', got: {result.stdout}{result.stderr})")
for check, path, text in FINE:
    result = run(check, path, text)
    if result.returncode != 0:
        failures += 1
        print(f"{check} refused in {path} what is allowed: {result.stdout}{result.stderr}")
print(f"{len(FAULTS)} faults and {len(FINE)} good trees tried, {failures} wrong")
sys.exit(1 if failures else 0)
