"""Questions and their answers: one file a study, driven by pipelines/*.toml."""
