"""Which steps run, with which parameters, from and to which artifacts."""
