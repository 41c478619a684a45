"""A training process that ends itself as it is told; see --help."""

import argparse
import os
import resource
import signal
import sys
import time
from pathlib import Path

import torch

import polymodal as pm
from polymodal.io import atomic, checkpoint
from polymodal.table.table import Table

EPOCHS, STEPS = 3, 10


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--every", type=int, help="writes the state after so many updates, too")
    parser.add_argument("--slowly", action="store_true", help="waits before each step")
    parser.add_argument("--step", type=int, help="SIGKILL before this batch of what is left of an epoch")
    parser.add_argument("--write", type=float, help="SIGKILL when this share of a state is written")
    parser.add_argument("--after", type=int, default=0, help="of which state: so many are written before")
    parser.add_argument("--rename", type=int, help="SIGKILL before a file or folder takes its name, the so-manieth")
    parser.add_argument("--full", action="store_true", help="no file can grow past 1 kB from the second epoch on")
    parser.add_argument("--nobody", action="store_true", help="without the rights of root")
    return parser.parse_args()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Rows(Table):
    """Rows that do something before each training batch."""

    def batches(self, batch_size, **arguments):
        for step, batch in enumerate(super().batches(batch_size, **arguments), 1):
            if arguments.get("seed") is not None:
                self.act(arguments["epoch"], step)
            yield batch

    def act(self, epoch, step):
        if told.slowly:
            time.sleep(0.05)
        if told.full and epoch == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        if step == told.step:
            die()


def die_while_writing(share, after):
    whole, left = checkpoint._save, [after]

    def save(path, tensors, metadata=None):
        whole(path, tensors, metadata)
        if metadata and not left[0]:
            os.truncate(path, int(share * Path(path).stat().st_size))
            die()
        left[0] -= metadata is not None

    checkpoint._save = save


def die_before_renaming(number):
    """Dies before so many steps that give a file or a folder its name: by renaming, or by exchanging two names."""
    left = [number]

    def deadly(plain):
        def renamed(one, other):
            left[0] -= 1
            if not left[0]:
                die()
            return plain(one, other)

        return renamed

    Path.rename, Path.replace = deadly(Path.rename), deadly(Path.replace)
    atomic._exchange = deadly(atomic._exchange)


def rows():
    schema = pm.Schema(
        {"text": pm.Text(4, ("a", "b"), width=8, layers=1, heads=2, feedforward=8), "size": pm.Vector(2)}
    )
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(1, 5, (20 * STEPS, 4), generator=generator)
    size = torch.rand(20 * STEPS, 2, generator=generator)
    return Rows({"text": text, "size": size}, schema=schema), Table(
        {"text": text[:40], "size": size[:40]}, None, schema
    )


def main():
    torch.set_num_threads(1)
    train, validation = rows()
    model = pm.build("mac-wae", train.schema, latent_dim=4, draws=2, hidden=(16,))
    if told.nobody:
        pm.fit(model, validation, validation, epochs=1, progress=False)  # imports all that is needed
        if os.geteuid() == 0:
            os.setuid(65534)
    if told.write is not None:
        die_while_writing(told.write, told.after)
    if told.rename:
        die_before_renaming(told.rename)
    print("started", file=sys.stderr, flush=True)
    settings = {"epochs": told.epochs, "batch_size": 20, "learning_rate": 1e-2, "save_every": told.every}
    try:
        pm.fit(model, train, validation, folder=told.folder, resume=True, **settings)
    except OSError as error:
        print(f"OSError: {error}")
        sys.exit(3)


if __name__ == "__main__":
    told = options()
    main()
