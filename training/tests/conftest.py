"""One thread: tests fork trainers, and OpenMP's threads do not survive a fork."""

import torch

torch.set_num_threads(1)
