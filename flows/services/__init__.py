"""The services that flows need on this machine, for `make up`, `make down` and `make demo`."""
