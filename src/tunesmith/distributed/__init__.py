"""Several processes on one run: torchrun starts them, torch's FSDP2 and DCP do the sharding."""
