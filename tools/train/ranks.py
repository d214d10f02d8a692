# ranks.py: several processes share every step of the teacher or the student.
#
#   for r in 0 1; do python flow.py --ranks 2 --rank $r --threads 1 ... & done
#
# Each takes --batch pictures of its own; gradients are averaged before a step, so that all hold the same weights.  On a
# CPU with other work beside, two processes of one thread get much further than one of two threads, which waits for the
# slower thread at every layer.  Rank 0 alone logs, checks and stores.

import torch
import torch.distributed as dist


class Ranks:
    def __init__(self, args):
        self.count, self.rank = args.ranks, args.rank
        if self.count > 1 and not dist.is_initialized():
            dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{args.port}', rank=self.rank, world_size=self.count)

    @property
    def first(self):
        return self.rank == 0

    def wait(self):
        if self.count > 1:
            dist.barrier()

    def mean(self, parameters, number):
        """Averages the gradients in place; returns the mean of a number of each rank."""
        if self.count == 1:
            return number
        held = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in held] + [torch.tensor([float(number)], device=held[0].device)])
        dist.all_reduce(flat)
        flat /= self.count
        for g, part in zip(held, flat.split([g.numel() for g in held] + [1])):
            g.copy_(part.view_as(g))
        return float(flat[-1])


def arguments(p):
    p.add_argument('--ranks', type=int, default=1, help='processes that train together, each with a --batch of its own')
    p.add_argument('--rank', type=int, default=0, help='which of them this is')
    p.add_argument('--port', type=int, default=29512, help='of this machine, for them to meet')
