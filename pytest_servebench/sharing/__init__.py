"""Memory that client and server share: tensors that are sent by their place."""
