"""Jobs, not events: a manifest cuts a run into shards, any scheduler runs them, and they merge into the file of the run."""
