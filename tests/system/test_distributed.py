"""Several processes: what they tell each other, and what is said when one of them ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support.nursery import free_port
from support.together import together

from transformer.errors import ConfigError, DataError, TransformerError
from transformer.system.distributed import Ranks, join_ranks
from transformer.system.launcher import interface_of, read_launch, restarted
from transformer.system.lifeline import Ending, open_lifeline


def test_numbers_bytes_and_tensors_reach_all(tmp_path: Path) -> None:
    def work(ranks: Ranks) -> Any:
        weights = torch.full((3,), float(ranks.rank))
        ranks.spread([weights])
        sums, whole = torch.arange(6.0) + ranks.rank, torch.zeros(6)
        ranks.join_shards(ranks.sum_shard(sums), whole)
        ranks.sum_in_place(sums)
        return [
            ranks.largest(ranks.rank),
            ranks.smallest(ranks.rank),
            [part.decode() for part in ranks.gather(b"x" * ranks.rank)],
            ranks.share(b"first" if ranks.first else b"ignored").decode(),
            ranks.share(b"").decode(),
            ranks.of_first(lambda: {"made by": ranks.rank}),
            weights.tolist(),
            sums.tolist(),
            whole.tolist(),
        ]

    expected = [
        2,
        0,
        ["", "x", "xx"],
        "first",
        "",
        {"made by": 0},
        [0.0, 0.0, 0.0],
        *[[3.0, 6.0, 9.0, 12.0, 15.0, 18.0]] * 2,
    ]
    assert together(3, tmp_path, work) == [expected] * 3


def test_one_process_talks_to_itself() -> None:
    alone = Ranks()
    assert (alone.largest(3), alone.smallest(3)) == (3, 3)
    assert (alone.gather(b"a"), alone.share(b"b"), alone.of_first(lambda: [1])) == ([b"a"], b"b", [1])
    alone.wait()
    alone.refuse_differences({"a": 1})


def test_the_same_processes_can_meet_again(tmp_path: Path) -> None:
    """As two trainings in one program do."""
    assert together(2, tmp_path, lambda ranks: ranks.largest(ranks.rank), rounds=2) == [1, 1]
    agents = {"TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_PORT": str(free_port())}
    store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", int(agents["MASTER_PORT"]), is_master=True, wait_for_workers=False
    )
    assert together(2, tmp_path, lambda ranks: ranks.largest(ranks.rank), rounds=2, **agents) == [1, 1]
    del store


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_killed_process_is_named_by_all_others(tmp_path: Path, rank: int) -> None:
    """The others wait for it, or are busy: those have five seconds."""

    def work(ranks: Ranks) -> Any:
        if ranks.rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        ranks.wait()

    started = time.monotonic()
    said = f"the process with RANK {rank} on {socket.gethostname()} has died; do it again"
    assert together(3, tmp_path, work) == [None if i == rank else said for i in range(3)]
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("rank", [0, 1])
def test_the_error_of_a_process_is_told_by_all_others(tmp_path: Path, rank: int) -> None:
    def work(ranks: Ranks) -> Any:
        if ranks.rank == rank:
            raise DataError("a file is missing")
        ranks.wait()

    told = f"the process with RANK {rank} on {socket.gethostname()} has ended: a file is missing; do it again"
    assert together(3, tmp_path, work) == ["a file is missing" if i == rank else told for i in range(3)]


def test_a_process_that_is_busy_ends_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would tell it: it waits for a GPU, or prepares data for an hour."""

    def work(ranks: Ranks) -> Any:
        if ranks.rank == 1:
            raise DataError("a file is missing")
        logging.getLogger("transformer").addHandler(logging.StreamHandler())
        time.sleep(600)

    monkeypatch.setattr("transformer.system.lifeline.GRACE", 1.0)

    started = time.monotonic()
    assert together(2, tmp_path, work) == [None, "a file is missing"]
    assert time.monotonic() - started < 15
    assert "has ended: a file is missing; do it again" in capfd.readouterr().err


def test_other_errors_and_exit_codes_are_passed_on() -> None:
    from transformer.system.distributed import _in_words

    assert _in_words(ConfigError("wrong")) == ("wrong", 2)
    assert _in_words(SystemExit(143)) == ("terminated", 143)
    assert _in_words(OSError(28, "No space left", "file")) == ("OSError: No space left: file", 1)
    assert _in_words(KeyboardInterrupt()) == ("KeyboardInterrupt", 1)
    error = Ending(3, "node", "wrong", 1).as_error("start again")
    assert (str(error), error.exit_code) == ("the process with RANK 3 on node has ended: wrong; start again", 1)
    error = Ending(3, "node", "wrong", 2).as_error("start again")  # which would not help
    assert (str(error), error.exit_code) == ("the process with RANK 3 on node has ended: wrong", 2)


def test_differences_are_refused_by_name_by_all(tmp_path: Path) -> None:
    def work(ranks: Ranks) -> Any:
        ranks.refuse_differences({"train.seed": 1, "data.train": "abc" if ranks.rank < 2 else "abd"})

    sentence = "the processes differ in data.train: it is abc in RANK 0 and abd in RANK 2; start all with the same"
    for said in together(3, tmp_path, work):
        assert str(said).startswith(sentence) or f"has ended: {sentence}" in str(said)


def test_a_stranger_at_the_port_of_the_lifeline_does_no_harm(tmp_path: Path) -> None:
    """It may be a port scanner, or say nothing."""
    from transformer.system import lifeline

    open_really = lifeline.open_lifeline

    def with_strangers(rank: int, count: int, host: str, store: Any, patience: float) -> Any:
        if rank == 1:
            port, *_ = json.loads(store.get("lifeline"))
            for text in (b"", b"GET / HTTP/1.1\r\n\r\n", b'["wrong", 1, "evil"]\n', b"x" * 5000, b"[1]\n", b"7\n"):
                with socket.create_connection((host, port)) as stranger:
                    stranger.sendall(text)
        return open_really(rank, count, host, store, patience)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformer.system.distributed.open_lifeline", with_strangers)
        assert together(2, tmp_path, lambda ranks: ranks.largest(ranks.rank)) == [1, 1]


def test_what_a_meeting_before_left_in_the_store_does_no_harm(tmp_path: Path) -> None:
    """torchrun's agents keep one store for all restarts. Nothing may listen at the old port, or something else."""
    port = free_port()
    store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", port, is_master=True, wait_for_workers=False
    )
    env = {"TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_PORT": str(port)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        for old in (free_port(), other.getsockname()[1]):
            store.set("lifeline", json.dumps([old, "an old meeting", "localhost"]))

            def late(rank: int, *rest: Any) -> Any:
                time.sleep(1.0 if rank == 0 else 0.0)
                return open_lifeline(rank, *rest)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("transformer.system.distributed.open_lifeline", late)
                patch.setattr("transformer.system.lifeline.ANSWER", 0.5)
                found = together(2, tmp_path, lambda ranks: ranks.largest(ranks.rank), **env)  # type: ignore[arg-type]
                assert found == [1, 1]


def test_a_first_process_that_cannot_be_reached_is_one_sentence() -> None:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    store.set("lifeline", json.dumps([free_port(), "meeting", "127.0.0.1"]))
    with pytest.raises(TimeoutError, match="the first process cannot be reached on port"):
        open_lifeline(1, 2, "127.0.0.1", store, 0.1)
    with pytest.raises(TimeoutError, match="only 1 of 2 have come"):
        open_lifeline(0, 2, "127.0.0.1", store, 0.1)


def test_connections_that_break_without_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformer.system.distributed.CAUSE", 0.0)
    with pytest.raises(TransformerError, match="the 2 processes have lost each other .Connection reset.; run the same"):
        Ranks(0, 2)._raise_ending(RuntimeError("Connection reset\nmore"))


# ---- launchers -----------------------------------------------------------------------------------------


def test_srun_says_the_place_on_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WORLD_SIZE": "4",
        "RANK": "3",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "5",
        "SLURM_LOCALID": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    launch = read_launch()
    assert (launch.rank, launch.count, launch.local, launch.here, launch.bound) == (3, 4, 1, "a:5", True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr(torch.distributed, "new_group", lambda **_: None)
    for gpus, device in ((8, "cuda:1"), (1, "cuda:0")):  # srun may show each process its own GPU only
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert join_ranks(torch.device("cuda")) == (Ranks(3, 4, 1), torch.device(device))
    monkeypatch.setenv("SLURM_LOCALID", "")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(ConfigError, match="there are 8 GPUs, but LOCAL_RANK, the number of this process on its node"):
        join_ranks(torch.device("cuda"))


def test_without_a_place_on_the_node_the_hosts_are_compared(tmp_path: Path) -> None:
    assert together(3, tmp_path, lambda ranks: ranks.local, LOCAL_RANK="") == [0, 1, 2]


@pytest.mark.parametrize(
    ("names", "known"), [("lo", True), ("^docker,lo", True), ("l,eth", True), ("=lo", True), ("=l", False)]
)
def test_interfaces_of_nccl(monkeypatch: pytest.MonkeyPatch, names: str, known: bool) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", names)
    if known:
        assert read_launch().count == 2
    else:
        with pytest.raises(ConfigError, match="NCCL_SOCKET_IFNAME is"):
            read_launch()


def test_the_interface_of_an_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.77") is None


@pytest.mark.parametrize("by", ["TORCHELASTIC", "SLURM"])
@pytest.mark.parametrize(("text", "again"), [("", False), ("0", False), ("2", True)])
def test_restarts(monkeypatch: pytest.MonkeyPatch, by: str, text: str, again: bool) -> None:
    monkeypatch.setenv(f"{by}_RESTART_COUNT", text)
    assert restarted() == again
