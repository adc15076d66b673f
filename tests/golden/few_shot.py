"""few_shot.json: selections of numpy, Python's random and OpenFlamingo's evaluation."""
import random

import numpy as np
import torch
from formula import write_json
from open_flamingo.eval import utils


class Rows(torch.utils.data.Dataset):
    """Rows that are their own index."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return int(index)


def trial(train, test, shots, samples, query_set, seed):
    """Which demonstrations each question gets, as evaluate_vqa draws them, for one process."""
    np.random.seed(seed)
    indices = np.random.choice(test, samples if samples > 0 else test, replace=False)
    subset = torch.utils.data.Subset(Rows(test), indices)
    sampler = torch.utils.data.distributed.DistributedSampler(subset, num_replicas=1, rank=0)
    loader = torch.utils.data.DataLoader(subset, batch_size=3, sampler=sampler, collate_fn=list)
    pool = utils.get_query_set(Rows(train), query_set)
    utils.random_seed(seed, 0)
    demonstrations = utils.compute_effective_num_shots(shots, "open_flamingo")
    queries = []
    for batch in loader:
        drawn = utils.sample_batch_demos_from_query_set(pool, demonstrations, len(batch))
        queries += [[row, demos] for row, demos in zip(batch, drawn)]
    return dict(train=train, test=test, shots=shots, samples=samples, query_set=query_set, seed=seed, queries=queries)


def trial_v0(rows, shots, samples, query_set, seed):
    """As open_flamingo 0.0.2 selects; its random module was not seeded, here it is."""
    np.random.seed(seed)
    indices = np.random.choice(rows, samples + query_set, replace=False).tolist()
    random.seed(seed)
    queries = [[row, random.sample(indices[:query_set], shots if shots > 0 else 2)] for row in indices[query_set:]]
    return dict(rows=rows, shots=shots, samples=samples, query_set=query_set, seed=seed, queries=queries)


def draws(seed, count):
    random.seed(seed)
    reals, shuffled = [random.random() for _ in range(4)], list(range(count))
    random.shuffle(shuffled)
    return dict(seed=seed, reals=reals, shuffled=shuffled, chosen_of_7=[random.choice(range(7)) for _ in range(9)])


def main():
    choices, samples = [], []
    for seed, n, size in [(0, 1, 1), (1, 10, 10), (42, 7, 3), (42, 1000, 12), (2**32 - 1, 100003, 6)]:
        choices.append(dict(seed=seed, n=n, size=size, rows=np.random.RandomState(seed).choice(n, size, replace=False).tolist()))
    for seed, n, k in [(0, 1, 1), (0, 21, 5), (42, 22, 5), (42, 2048, 2), (42, 2048, 32), (7, 85, 6), (7, 86, 6), (2**40 + 5, 300, 64)]:
        random.seed(seed)
        samples.append(dict(seed=seed, n=n, k=k, rows=random.sample(range(n), k) + random.sample(range(n), k)))
    trials = [trial(500, 90, 0, 20, 64, 42), trial(5000, 40, 4, 0, 2048, 42), trial(300, 60, 8, 10, 300, 7)]
    write_json("few_shot.json", dict(choices=choices, samples=samples, trials=trials, trials_v0=[trial_v0(90, 0, 12, 32, 42), trial_v0(400, 4, 9, 128, 5)],
                                     draws=[draws(0, 1), draws(42, 33), draws(2**33 + 1, 100)]))


if __name__ == "__main__":
    main()
