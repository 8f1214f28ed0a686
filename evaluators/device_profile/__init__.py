"""What architectures cost on one device, learnt from measurements of their parts and of whole networks."""
