"""deploy/packages/*.txt name exactly the libraries that the CMake files look for.

usage: check_packages.py ROOT
"""
import pathlib
import re
import sys

PACKAGES = {
    "find_package(Threads)": set(),
    "find_package(Protobuf)": {"libprotobuf-dev", "protobuf-compiler"},
    "find_package(Boost)": {"libboost-dev"},
    "find_package(Boost:context)": {"libboost-context-dev"},
    "find_package(fmt)": {"libfmt-dev"},
    "find_package(spdlog)": {"libspdlog-dev"},
    "find_package(tl-expected)": {"libexpected-dev"},
    "find_package(CLI11)": {"libcli11-dev"},
    "find_package(PNG)": {"libpng-dev"},
    "find_path(zmq.hpp)": {"cppzmq-dev"},
    "find_library(zmq)": {"libzmq3-dev"},
    "find_path(elfutils/libdwfl.h)": {"libdw-dev"},
    "find_library(dw)": {"libdw-dev"},
    "find_library(elf)": {"libelf-dev"},
    "find_package(GTest)": {"libgtest-dev", "libgmock-dev"},
    "find_package(nlohmann_json)": {"nlohmann-json3-dev"},
    "find_package(bulkhead)": set(),  # tests/install: itself, installed
    "find_package(Python3)": {"python3"},
    "find_package(Python3:Interpreter)": {"python3"},
}
# Not libraries: nothing in CMake looks for these.
TOOLS = {"build": {"g++", "cmake", "ninja-build"},
         "test": {"clang", "clang-format", "clang-tidy", "codespell", "shellcheck", "git",
                  "python3-zmq", "python3-protobuf",
                  "libclang-rt-14-dev"}}


def listed(root, name):
    lines = (root / "deploy/packages" / f"{name}.txt").read_text().splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


def looked_for(files):
    found = set()
    for file in files:
        text = re.sub(r"#.*", "", file.read_text())
        for call, arguments in re.findall(r"\b(find_package|find_path|find_library)\(([^)]*)\)", text):
            words = arguments.split()
            if call == "find_package":
                found.add(f"{call}({words[0]})")
                if "COMPONENTS" in words:
                    for component in words[words.index("COMPONENTS") + 1:]:
                        found.add(f"{call}({words[0]}:{component})")
            else:
                found.add(f"{call}({words[1]})")
    return found


def complaints(root):
    folders = ("include", "proto", "worker", "coordinator", "deploy")
    product = [root / "CMakeLists.txt"] + [file for folder in folders for pattern in
                                           ("CMakeLists.txt", "*.cmake")
                                           for file in (root / folder).rglob(pattern)]
    wanted = {"build": looked_for(product), "test": looked_for((root / "tests").rglob("CMakeLists.txt"))}
    build = set()
    for name in ("build", "test"):
        for call in sorted(wanted[name] - set(PACKAGES)):
            yield f"{call}: tests/house/check_packages.py does not know which Debian package has it"
        needed = set().union(*(PACKAGES.get(call, set()) for call in wanted[name]))
        build = needed if name == "build" else build
        has = listed(root, name)
        for package in sorted(needed - has - (build if name == "test" else set())):
            yield f"deploy/packages/{name}.txt lacks {package}, which the CMake files look for"
        for package in sorted(has - needed - TOOLS[name]):
            yield f"deploy/packages/{name}.txt lists {package}, but no CMake file looks for it"


def main():
    found = list(complaints(pathlib.Path(sys.argv[1])))
    print("\n".join(found) if found else "package lists: as the CMake files need")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
