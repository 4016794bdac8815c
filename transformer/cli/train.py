"""`transformer train`: train a model, or resume a run."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from transformer.cli.arguments import add_device, add_overrides, as_path
from transformer.cli.terminal import command_line, is_utf8, say
from transformer.errors import ConfigError
from transformer.system.signals import exit_on_signals, signal_of

HELP = "train a model, or resume a run"
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `train`."""
    parser.add_argument("config", metavar="CONFIG", type=as_path, help="YAML configuration file")
    add_overrides(parser, "train.max_steps=1000")
    add_device(parser)
    parser.add_argument(
        "--run", dest="folder", type=as_path, metavar="DIR", help="run directory (default: runs/<config name>)"
    )
    parser.add_argument("--fresh", action="store_true", help="start over; an existing run directory is moved aside")
    parser.add_argument(
        "--dry-run", action="store_true", help="build everything, do one update, and print sizes, memory and time"
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and exit")


def run(args: argparse.Namespace) -> int:
    """Train, and log the command to run next."""
    from transformer import config_file
    from transformer.api import default_run
    from transformer.evaluation.metrics import check_select_by

    cfg = config_file.load(args.config, args.overrides)
    check_select_by(cfg.train.select_by)
    if args.print_config:
        say(config_file.dump(cfg, ascii_only=not is_utf8()).removesuffix("\n"))
        return 0
    folder = args.folder or default_run(args.config)
    with exit_on_signals():
        from transformer.system.device import resolve_device
        from transformer.system.launcher import read_launch
        from transformer.training.dry_run import dry_run
        from transformer.training.session import train

        device = resolve_device(args.device)
        if args.dry_run:
            if read_launch().count > 1:
                raise ConfigError("--dry-run does one update in one process; start it without torchrun or srun")
            say("\n".join(dry_run(cfg, folder, device)))
            return 0
        args.destination = "the run directory"  # for an OSError without a file name
        reason = train(cfg, folder, device, args.fresh, progress_bar=True)
    return _report(reason, folder, args)


def _report(reason: str, folder: Path, args: argparse.Namespace) -> int:
    """Log why training stopped and the command to run next, in the first process; return the exit code."""
    from transformer.system.launcher import read_launch
    from transformer.training.stopping import TIME_LIMIT

    number = signal_of(reason)
    code = 0 if number is None else 128 + number
    if read_launch().rank != 0:
        return code
    if number is not None:
        log.info("%s and saved; resume with: %s", reason, resume_command(folder, args))
    elif reason == TIME_LIMIT:
        log.info("stopped at the time limit and saved; resume with: %s", resume_command(folder, args))
    else:
        log.info("finished: %s; next: %s", reason, command_line("evaluate", folder))
    return code


def resume_command(folder: Path, args: argparse.Namespace) -> str:
    """Return the command that resumes this run on the same device, with as many processes, in a shell's quotes."""
    device = [] if args.device == "auto" else ["--device", args.device]
    command = command_line("train", args.config, *args.overrides, "--run", folder, *device)
    if int(os.environ.get("WORLD_SIZE") or 1) < 2:
        return command
    each = os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])
    nodes = os.environ.get("GROUP_WORLD_SIZE", "1")
    several = f"--nnodes={nodes} " if nodes != "1" else ""
    return f"torchrun {several}--nproc-per-node={each} -m -- {command}"  # without -- torchrun would take --run
