#!/usr/bin/env bash
# Records runs of Linux automatic NUMA balancing on kernels of your choice, in an emulated machine. See README.md.
#   run.sh [--install] [options of lab.py] RUN...     run.sh --list     run.sh --help
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

install=no
work=kernel-lab-work
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --install) install=yes ;;
    --work) work=${2:?--work needs a folder}; arguments+=("$1" "$2"); shift ;;
    --work=*) work=${1#--work=}; arguments+=("$1") ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

say() { printf 'run.sh: %s\n' "$*" >&2; }

# What is missing, as packages of Debian.
packages=()
command -v qemu-system-x86_64 >/dev/null || packages+=(qemu-system-x86 seabios)
[ -x /bin/busybox ] || packages+=(busybox-static)
command -v gcc >/dev/null || packages+=(gcc libc6-dev)
command -v python3 >/dev/null || packages+=(python3)
command -v dpkg-deb >/dev/null || packages+=(dpkg)
if [ ${#packages[@]} -gt 0 ]; then
  if [ "$install" = no ]; then
    say "missing: ${packages[*]}. Install them, or call run.sh --install (as root)"
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
fi

for argument in "${arguments[@]}"; do
  case $argument in
    --list | --help | -h) exec python3 "$here/lab.py" "${arguments[@]}" ;;
  esac
done

if command -v ldd >/dev/null && ldd /bin/busybox >/dev/null 2>&1; then
  say "/bin/busybox needs shared libraries, which the guest has not. Install busybox-static"
  exit 1
fi
version=$(qemu-system-x86_64 --version | sed -n '1s/.*version \([0-9]*\)\..*/\1/p')
if [ "${version:-0}" -lt 8 ]; then
  say "qemu-system-x86_64 $version is too old: under its deterministic clock the second CPU never starts. 10.0 works; the"
  say "distribution's backports may have it: apt-get install -t CODENAME-backports qemu-system-x86"
  exit 1
fi

mkdir -p "$work"
if ! gcc -O2 -static -Wall -Wextra -o "$work/nblab" "$here/nblab.c" "$here/worker.c" "$here/kcore.c" -lpthread; then
  say "nblab did not compile; it needs gcc and the C library's static files (libc6-dev)"
  exit 1
fi
exec python3 "$here/lab.py" "${arguments[@]}"
