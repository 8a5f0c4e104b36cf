"""The KFP wrappers, the pipelines, the local runner and the `sextant` command."""
