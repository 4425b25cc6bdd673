# ruff: noqa: ANN201, D102, S607  (as law writes tasks)
"""fastsim with law: a branch a shard, and the merge. Tried with law 0.1.21, its local workflow, for a batch that is planned.

PYTHONPATH=docs/recipes law run law_batch.Merge --plan /path/of/batch --out merged.root --workers 2 --local-scheduler

On a cluster derive `Shards` from law's HTCondorWorkflow or SlurmWorkflow as well (not tried).
"""

import json
import subprocess
from pathlib import Path

import law
import luigi

RETRY = 75  # the only exit code that is worth it


class Batch(law.Task):
    """What all tasks have."""

    plan = luigi.Parameter(description="the folder of a plan")

    @property
    def folder(self):
        return Path(self.plan).absolute()


class Shards(Batch, law.LocalWorkflow):
    """A branch makes one shard; its folder appears whole or not at all, so that it is there when it is done."""

    retries_here = luigi.IntParameter(default=3, significant=False)

    def create_branch_map(self):
        shards = json.loads((self.folder / "manifest.json").read_text())["shards"]
        width = max(4, len(str(len(shards) - 1)))
        return {i: f"shard_{i:0{width}}" for i in range(len(shards))}

    def output(self):
        return law.LocalFileTarget(str(self.folder / self.branch_data / "record.json"))

    def run(self):
        for _ in range(1 + self.retries_here):
            done = subprocess.run(
                ["fastsim", "batch", "run", str(self.folder), str(self.branch), "--quiet"], check=False
            )
            if done.returncode != RETRY:
                break
        done.check_returncode()


class Merge(Batch):
    """All shards in one file."""

    out = luigi.Parameter()

    def requires(self):
        return Shards.req(self)

    def output(self):
        return law.LocalFileTarget(str(Path(self.out).absolute()))

    def run(self):
        subprocess.run(["fastsim", "batch", "merge", str(self.folder), "--out", self.output().path], check=True)
