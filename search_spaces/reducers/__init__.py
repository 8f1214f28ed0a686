"""Token reduction inside a stage. One file each."""
