"""What a worker may use of this machine, and when: cores and GPUs, and leases of them."""
