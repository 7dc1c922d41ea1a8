# Shared by deploy/quickstart and deploy/check: texts, package lists, build directories.
# Sourced, never run. Expects `root` to be the absolute path of the checkout.
# shellcheck shell=bash
: "${root:?}"

# The checkout decides, not the caller's shell: these would change what is built.
unset CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS CMAKE_GENERATOR CMAKE_BUILD_TYPE CMAKE_PREFIX_PATH \
  CMAKE_TOOLCHAIN_FILE CMAKE_INSTALL_PREFIX DESTDIR CDPATH GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
die() {
  printf '\n%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

distribution() {
  # shellcheck disable=SC1091  # not part of the checkout
  (. /etc/os-release 2>/dev/null && printf '%s' "${PRETTY_NAME:-unknown}") || printf 'unknown'
}

# package_list NAME...: the packages of deploy/packages/NAME.txt, one a line.
package_list() {
  local name
  for name in "$@"; do
    sed -e 's/[[:space:]]*#.*//' -e '/^$/d' "$root/deploy/packages/$name.txt"
  done
}

missing_packages() {
  local package
  while read -r package; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
      printf '%s\n' "$package"
    fi
  done < <(package_list "$@")
}

need_space() {  # need_space MEGABYTES DIRECTORY WHAT
  local free
  free=$(df -Pm "$2" 2>/dev/null | awk 'NR == 2 {print $4}')
  if [ -n "$free" ] && [ "$free" -lt "$1" ]; then
    die "$3 need about $1 MB, but only $free MB are free in $2. Free some space there and run this again."
  fi
}

# Installs what is missing from the named lists; without anything missing it touches nothing, needs
# no network and no root.
install_packages() {
  local missing log sudo=() reason
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "this system is '$(distribution)': bulkhead is built and tested on Debian 12, and this script installs its packages with apt-get. Install what $root/deploy/packages/ lists by hand, then: cmake --preset release && cmake --build --preset release"
  fi
  mapfile -t missing < <(missing_packages "$@")
  if [ "${#missing[@]}" -eq 0 ]; then
    say "all $(package_list "$@" | wc -l) packages are there already: nothing to install"
    return
  fi
  say "system:     $(distribution)"
  say "to install: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      die "installing packages needs root: this is an ordinary user and there is no sudo. As root run: apt-get install --no-install-recommends ${missing[*]} - then run this again."
    sudo=(sudo)
  fi
  need_space 1500 /usr "the packages"
  log=$root/build/logs/apt.log
  mkdir -p "${log%/*}" || die "cannot write to $root/build: is the checkout yours? (it belongs to $(stat -c %U "$root"))"
  : >"$log" || die "cannot write $log (it belongs to $(stat -c %U "$log")): run 'sudo rm -rf $root/build' and start this again."
  say "apt-get update, then apt-get install; a minute or two, the log is $log"
  # A failed update is not the end: what is known already may do, and install says if it does not.
  "${sudo[@]}" apt-get -q update </dev/null >>"$log" 2>&1 || true
  if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=120 install "${missing[@]}" </dev/null >>"$log" 2>&1; then
    tail -n 15 "$log" >&2
    reason="see the lines above and $log. Repair apt (try: apt-get -f install), then run this again."
    if grep -q '^sudo: ' "$log"; then
      reason="sudo refused (above). Run this as root, or have root run: apt-get install --no-install-recommends ${missing[*]}"
    elif grep -qiE 'no space left|enough free space' "$log"; then
      reason="the disk is full: free about 1.5 GB for /usr and /var, then run this again."
    elif grep -qE 'Unable to locate package|has no installation candidate' "$log"; then
      reason="'$(distribution)' does not offer: $(sed -nE "s/^E: (Unable to locate package|Package) '?([^' ]+).*/\2/p" "$log" | sort -u | tr '\n' ' ')- bulkhead is tested on Debian 12; on it, check that /etc/apt names a bookworm mirror with 'main' and that the mirror can be reached."
    elif grep -qE 'Temporary failure resolving|Could not connect|Failed to fetch|Unable to connect|Could not resolve' "$log"; then
      reason="the package mirror cannot be reached. Check the network (and the proxy settings in /etc/apt/apt.conf.d), then run this again."
    fi
    die "apt-get could not install the packages: $reason"
  fi
  mapfile -t missing < <(missing_packages "$@")
  [ "${#missing[@]}" -eq 0 ] || die "apt-get said it was done, yet these are missing: ${missing[*]} (log: $log)"
  say "installed"
}

# One compiler process a core, but none for which there is no memory (about 800 MB each).
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable:/ {print int($2 / 800000)}' /proc/meminfo 2>/dev/null)
  if [ -n "$memory" ] && [ "$memory" -lt "$cores" ]; then cores=$memory; fi
  if [ "$cores" -lt 1 ]; then cores=1; fi
  printf '%s' "$cores"
}

# configure PRESET DIRECTORY [CMAKE ARGUMENTS]: a directory left by a checkout that has since
# moved, which cmake refuses, is thrown away.
configure() {
  local preset=$1 directory=$2 launcher=() compiler=g++
  shift 2
  if [ -e "$directory/CMakeCache.txt" ] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$directory/CMakeCache.txt"; then
    rm -rf "$directory"
  fi
  if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  if [ "$preset" = asan ]; then compiler=clang++; fi
  (cd "$root" && cmake --preset "$preset" -B "$directory" -DCMAKE_CXX_COMPILER="$compiler" \
    "${launcher[@]}" "$@")
}
