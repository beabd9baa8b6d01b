"""Bugs to plant in `storage/`: what reaches the disk, when, and what is made of it afterwards."""

from syncstructs.testing.planted import PlantedBug

BUGS: tuple[PlantedBug, ...] = ()
