"""How fast Evaline is, beside peers and raw limits measured in the same run: `make bench`."""
