#!/bin/bash
# Run a command as docker-compose.yml runs API and worker, without Docker: `confined.sh SCRATCH COMMAND...`, by root.
# The user 10001 has no capability and can get none; every file system is read-only but the volume of ADAMSS_HOME, the
# tmpfs on /tmp and the user's own, which are below SCRATCH, an empty folder outside of /tmp. Exits with 75 where the
# system lets nobody make such a place.
set -eu
if [ -z "${CONFINED:-}" ]; then
  unshare --mount true 2>/dev/null || exit 75
  CONFINED=1 exec unshare --mount "$0" "$@"
fi
scratch=$1; shift
own() { mkdir -p "$1"; mount -t tmpfs -o "$2" tmpfs "$1"; }

mount --make-rprivate / || exit 75
# A Python below a folder that only root may enter, such as pyenv's, stays reachable.
python=$(readlink -f "$(command -v python)"); prefix=${python%/bin/*}
if ! setpriv --reuid 10001 --regid 10001 --clear-groups test -x "$python"; then
  top=/$(cut -d/ -f2 <<< "$prefix")
  mkdir -p "$scratch/python" && mount --bind "$prefix" "$scratch/python"
  mount -t tmpfs -o mode=0755 tmpfs "$top"
  mkdir -p "$prefix" && mount --bind "$scratch/python" "$prefix"
fi
own "$scratch/volume" mode=0700,uid=10001,gid=10001
own "$scratch/user" mode=0700,uid=10001,gid=10001
while read -r target; do
  case $target in /proc*|/sys*|/dev*|"$scratch"/*) continue;; esac
  mount -o remount,bind,ro "$target"
done < <(findmnt -rno TARGET)
mount -t tmpfs -o mode=1777 tmpfs /tmp
cd "$scratch"
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \
  env -i PATH="$PATH" PYTHONPATH="${PYTHONPATH:-}" HOME="$scratch/user" ADAMSS_HOME="$scratch/volume" \
  TMPDIR="$scratch/volume/run" HF_HOME="$scratch/volume/cache/hf" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
  TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 ADAMSS_PORT=1 "$@"
