"""The scripts that start several processes, with torchrun and with a stand-in for SLURM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.nursery import free_port, wait_until
from support.toy import assert_same

from transformer.runs.checkpoint import TENSORS, WEIGHTS, load_tensors
from transformer.runs.run import open_run

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts/launch"
SMALL = [
    "train.max_steps=60",
    "train.save_every=10",
    "train.validate_every=60",
    "decode.max_extra=3",
    "--device",
    "cpu",
]
SRUN = """\
#!/bin/bash
# Stands in for srun: starts SLURM_NTASKS processes of one node.
shift
for ((i = 0; i < SLURM_NTASKS; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!); done
code=0
for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
exit $code
"""
SCONTROL = """\
#!/bin/bash
if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> "$REQUEUED"; fi
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), **more}


def weights(run: Path) -> dict[str, object]:
    path = open_run(run).steps()[-1]
    return {**load_tensors(path / WEIGHTS), **load_tensors(path / TENSORS)}


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_valid_shell(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert os.access(script, os.X_OK)


@pytest.mark.slow
def test_slurm_script_trains_and_asks_to_be_queued_again(tiny_file: Path, tmp_path: Path) -> None:
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    requeued = tmp_path / "requeued"
    slurm = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "n[1-2]"}
    env = environment(**slurm, PATH=f"{tmp_path}:{os.environ['PATH']}", REQUEUED=str(requeued))
    command = list(map(str, ["bash", SCRIPTS / "slurm.sh", tiny_file, *SMALL, "--run", tmp_path / "run"]))
    job = subprocess.Popen([*command, "train.max_steps=1000000"], env=env, start_new_session=True)
    wait_until(lambda: (tmp_path / "run/checkpoints/step-00000010").is_dir(), 100, "no checkpoint")
    for pid in trainers(job.pid):
        os.kill(pid, signal.SIGUSR2)
    assert job.wait() == 140
    assert requeued.read_text() == f"requeue {os.getpid()}\n"
    steps = int((tmp_path / "run/last").read_text().removeprefix("step-")) + 3
    done = subprocess.run([*command, f"train.max_steps={steps}"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr


def trainers(root: int) -> list[int]:
    """Return the processes below one that have no children: those that train."""
    found = []
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        for pid in map(int, task.read_text().split()):
            found += trainers(pid) or [pid]
    return found


@pytest.mark.slow
def test_torchrun_starts_again_what_was_killed(tiny_file: Path, tmp_path: Path) -> None:
    """Both hosts are this one. A process of host 1 is killed; all start again, and the result is the same."""

    def start(run: Path, steps: int) -> list[subprocess.Popen[bytes]]:
        env = environment(PROCESSES="1", PORT=str(free_port()), JOB=run.name)
        command = list(map(str, [tiny_file, *SMALL, f"train.max_steps={steps}", "--run", run]))
        return [
            subprocess.Popen(["bash", SCRIPTS / "two_hosts.sh", str(i), "127.0.0.1", *command], env=env) for i in (0, 1)
        ]

    for agent in start(tmp_path / "whole", 200):
        assert agent.wait() == 0
    agents = start(tmp_path / "run", 200)
    wait_until(lambda: (tmp_path / "run/checkpoints/step-00000030").is_dir(), 100, "no checkpoint")
    (trainer,) = trainers(agents[1].pid)
    os.kill(trainer, signal.SIGKILL)
    assert [agent.wait() for agent in agents] == [0, 0]
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "run"))  # type: ignore[arg-type]
