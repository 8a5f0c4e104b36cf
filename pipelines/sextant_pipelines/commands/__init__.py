"""One module for each subcommand of `sextant`; each exposes its click command as `command`."""
