#!/bin/bash
# sbatch slurm.sh recipe.yaml: two machines with eight GPUs each. Run folder, model and cache have
# to lie where both machines see them.
#SBATCH --job-name=tunesmith
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120

# Ends before the job's time does: SIGTERM comes 120 seconds earlier, a checkpoint is saved, and
# `torchrun ... -m tunesmith resume RUN` in the next job goes on from it.
set -euo pipefail
recipe=${1:?a recipe}
export TUNESMITH_CACHE=${TUNESMITH_CACHE:-$PWD/.tunesmith-cache}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# one launcher for each machine; each starts as many processes as there are GPUs
srun torchrun \
  --nnodes "$SLURM_NNODES" \
  --nproc-per-node "${PROCESSES:-$SLURM_GPUS_ON_NODE}" \
  --max-restarts 3 \
  --rdzv-backend c10d \
  --rdzv-id "$SLURM_JOB_ID" \
  --rdzv-endpoint "$first:${PORT:-29500}" \
  -m tunesmith run "$recipe"
