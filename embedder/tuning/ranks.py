"""Several processes that tune one model: torchrun starts them, torch.distributed joins them.

Every process holds the whole model and computes a share of each batch's texts. Their vectors are
gathered, so that the loss is that of the whole batch in every process; gradients are summed.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as distributed
from torch import Tensor

from embedder.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of a run; one alone unless torchrun said otherwise."""

    rank: int = 0
    count: int = 1
    local: int = 0
    """Which of this machine's processes this is: the device it takes."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def device(self) -> str:
        """The device that this process takes, if it is one of several."""
        return f"cuda:{self.local}" if torch.cuda.is_available() else "cpu"

    def share(self, items: Sequence[int]) -> list[int]:
        """This process's items: every so many-th one."""
        return list(items[self.rank :: self.count])

    def any(self, condition: bool, device: torch.device) -> bool:
        """Whether the condition holds in any process."""
        if self.count == 1:
            return condition
        flag = torch.tensor([float(condition)], device=device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    def told(self, value: float, device: torch.device) -> float:
        """The leading process's value."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.broadcast(told, 0)
        return float(told.item())

    def gather(self, own_SD: Tensor, items: Sequence[int]) -> Tensor:
        """All processes' rows, (N, D), each at its item's place; rows are those of `share(items)`.

        Args:
            own_SD: this process's rows.
            items: a permutation of 0 to N - 1, the same in all processes.
        """
        whole_ND = own_SD.new_empty(len(items), own_SD.shape[1])
        if self.count == 1:
            whole_ND[torch.tensor(items, device=own_SD.device)] = own_SD
            return whole_ND
        longest = -(-len(items) // self.count)
        padded_LD = own_SD.new_zeros(longest, own_SD.shape[1])
        padded_LD[: len(own_SD)] = own_SD
        parts = [torch.empty_like(padded_LD) for _ in range(self.count)]
        distributed.all_gather(parts, padded_LD)
        for rank, part_LD in enumerate(parts):
            at = torch.tensor(items[rank :: self.count], dtype=torch.int64, device=own_SD.device)
            whole_ND[at] = part_LD[: len(at)]
        return whole_ND

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors over all processes, in place."""
        if self.count > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that torchrun started, joined until the block ends; else this one alone.

    Raises:
        InvalidConfig: the variables are not those that torchrun sets.
    """
    count = _whole("WORLD_SIZE", 1)
    if count == 1:
        yield Ranks()
        return
    names = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in names if name not in os.environ]:
        raise InvalidConfig(
            f"WORLD_SIZE is {count} and {missing[0]} is not set; start with torchrun, or unset it"
        )
    ranks = Ranks(_whole("RANK", 0), count, _whole("LOCAL_RANK", 0))
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(ranks.local)
    distributed.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()


def _whole(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise InvalidConfig(f"{name} is {value!r}; expected a whole number, as torchrun sets it")
    return int(value)
