"""Two hosts train together, and the link between them is cut. The hosts are network namespaces of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.nursery import Child, Nursery, open_nursery, start_together
from support.toy import assert_same

from transformer.runs.checkpoint import TENSORS, WEIGHTS, load_tensors
from transformer.runs.run import open_run

SETTINGS = ["train.max_steps=300", "train.save_every=40", "train.validate_every=300", "train.log_every=1"]
SETTINGS += ["decode.max_extra=3", "train.keep_last=2"]


class Hosts(NamedTuple):
    """Two hosts with a link between them."""

    names: tuple[str, str]
    nurseries: list[Nursery]

    def link(self, state: str) -> None:
        """Cut the link, `down`, or restore it, `up`."""
        ip("-n", self.names[0], "link", "set", "link0", state)

    def train(self, config: Path, folder: Path, *settings: str) -> list[Child]:
        """Start a training whose processes have a disk each."""
        port = str(20_000 + os.getpid() % 20_000)  # free in the new namespaces
        env = {"MASTER_ADDR": "10.99.0.1", "MASTER_PORT": port, "LOCAL_RANK": "0"}
        command = ["train", config, *SETTINGS, *settings, "--run", folder / "run", "--device", "cpu"]
        return start_together(self.nurseries, folder / "log", *command, env=env)


def ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if shutil.which("ip") is None:
        pytest.skip("there is no command ip to make network namespaces with")
    names = f"transformer-a-{os.getpid()}", f"transformer-b-{os.getpid()}"
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ends = [f"va{os.getpid()}", f"vb{os.getpid()}"]
            ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for i, (name, end) in enumerate(zip(names, ends, strict=True)):
                ip("link", "set", end, "netns", name)
                ip("-n", name, "link", "set", end, "name", f"link{i}")
                ip("-n", name, "addr", "add", f"10.99.0.{i + 1}/24", "dev", f"link{i}")
                ip("-n", name, "link", "set", f"link{i}", "up")
                ip("-n", name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        with open_nursery("ip", "netns", "exec", names[0]) as a, open_nursery("ip", "netns", "exec", names[1]) as b:
            yield Hosts(names, [a, b])
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def undisturbed(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the weights of a training that nothing disturbs, and its configuration.

    The name of both hosts means their own loopback, as on many; the interface to use is found out.
    """
    from support.toy import TINY, toy_pairs, write_pairs

    folder = tmp_path_factory.mktemp("undisturbed")
    files = {name: write_pairs(folder, name, toy_pairs(150, i)) for i, name in enumerate(("train", "valid", "test"))}
    config = folder / "tiny.yaml"
    config.write_text(TINY.format(**files))
    for child in hosts.train(config, folder):
        assert child.wait() == 0, child.log()
    return weights(folder / "run"), config


def weights(run: Path) -> Any:
    path = open_run(run).steps()[-1]
    return load_tensors(path / WEIGHTS) | load_tensors(path / TENSORS)


@pytest.mark.slow
def test_a_link_that_is_cut_for_seconds_costs_seconds(hosts: Hosts, undisturbed: Any, tmp_path: Path) -> None:
    expected, config = undisturbed
    both = hosts.train(config, tmp_path)
    both[0].wait_for("step 100 ")
    hosts.link("down")
    time.sleep(12)
    assert "waiting for the other 1 of 2 training processes" in both[0].log()
    hosts.link("up")
    assert [child.wait() for child in both] == [0, 0]
    assert_same(expected, weights(tmp_path / "run"))


@pytest.mark.slow
def test_a_link_that_is_cut_for_long_ends_both_and_the_run_resumes(
    hosts: Hosts, undisturbed: Any, tmp_path: Path
) -> None:
    """Each says within two minutes that the other has died. Started again, they go on from the last checkpoint."""
    expected, config = undisturbed
    both = hosts.train(config, tmp_path)
    both[0].wait_for("step 100 ")
    cut = time.monotonic()
    hosts.link("down")
    try:
        assert [child.wait() for child in both] == [1, 1]
        assert time.monotonic() - cut < 120
    finally:
        hosts.link("up")
    for rank, child in enumerate(both):
        assert f"the process with RANK {1 - rank} on " in child.log().splitlines()[-1]
        assert (
            child.log()
            .splitlines()[-1]
            .endswith("has died; re-run the same command to resume from the last checkpoint")
        )
        assert "Traceback" not in child.log()
    again = hosts.train(config, tmp_path)
    assert [child.wait() for child in again] == [0, 0]
    assert "resuming from" in again[0].log()
    assert_same(expected, weights(tmp_path / "run"))
