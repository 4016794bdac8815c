#!/bin/bash
# Trains on two hosts without a batch system. Run it on both, with the number of the host and an address of host 0:
#
#   host 0:  scripts/launch/two_hosts.sh 0 10.0.0.1 CONFIG [KEY=VALUE ...] [--run DIR]
#   host 1:  scripts/launch/two_hosts.sh 1 10.0.0.1 CONFIG [KEY=VALUE ...] [--run DIR]
#
# torchrun starts all processes again, up to three times, when one has died. PROCESSES is their number on a host, by
# default that of its GPUs. PORT must be free on host 0. Where a host has several networks, NCCL_SOCKET_IFNAME names
# the one to use.
set -euo pipefail
node=$1 head=$2
shift 2
own=()
if [ "$node" = 0 ]; then
    own=(--local-addr="$head" --rdzv-conf=is_host=true)
else
    own=(--rdzv-conf=is_host=false)
fi
exec "${PYTHON:-python}" -m torch.distributed.run --nnodes=2 --node-rank="$node" \
    --nproc-per-node="${PROCESSES:-gpu}" --max-restarts=3 --rdzv-backend=c10d --rdzv-id="${JOB:-transformer}" \
    --rdzv-endpoint="$head:${PORT:-29500}" "${own[@]}" -m -- transformer train "$@"
