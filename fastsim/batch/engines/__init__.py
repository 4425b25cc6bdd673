"""Who runs the shards: processes here, Dask, Slurm, HTCondor. All of them run `fastsim.batch.shard`, and nothing else."""
