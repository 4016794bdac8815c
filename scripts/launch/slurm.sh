#!/bin/bash
# Trains on the GPUs of several nodes under SLURM:  sbatch scripts/launch/slurm.sh CONFIG [KEY=VALUE ...] [--run DIR]
#
# Before the time limit SLURM sends SIGUSR2; training saves, and the job is queued again and resumes.
#SBATCH --job-name=transformer
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --signal=USR2@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
python="${PYTHON:-python}"
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export WORLD_SIZE=$SLURM_NTASKS
# srun numbers the processes; the one of a node is read from SLURM_LOCALID.
srun --kill-on-bad-exit=1 bash -c 'RANK=$SLURM_PROCID exec "$0" -m transformer train "$@"' "$python" "$@"
code=$?
if [ "$code" -eq 140 ]; then # 128 + SIGUSR2
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
