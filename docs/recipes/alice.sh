#!/bin/bash
# What a subjob of alice.jdl runs: `alice.sh SHARD`. Tried by hand in an empty folder with the two archives, not on the grid.
# A Python from 3.11 must be there, from the site or CVMFS: PYTHON names it. Exit code as of `fastsim batch run`, 75 after tries.
set -uo pipefail
shard=$1
retry() { echo "$1"; exit 75; }

tar -xzf batch.tar.gz && mkdir -p wheelhouse && tar -xf wheelhouse.tar -C wheelhouse || retry "cannot unpack"
"${PYTHON:-python3}" -m venv venv || retry "cannot make an environment"
venv/bin/pip install --quiet --no-index --no-deps wheelhouse/*.whl || retry "cannot install"  # all: as where it was planned

export FASTSIM_CACHE_DIR=${FASTSIM_CACHE_DIR:-${TMPDIR:-/tmp}/fastsim-cache-$(id -u)} OMP_NUM_THREADS=1
for _ in 1 2 3; do
  FASTSIM=$PWD/venv/bin/fastsim fastsim_batch/run.sh "$shard"
  code=$?
  [ $code -eq 75 ] || break
done
[ $code -eq 0 ] && mv fastsim_batch/shard_*/* .
exit $code
