"""What joins the stages of a pyramid in front of the head. One file each."""

from search_spaces.bridges import context  # noqa: F401
