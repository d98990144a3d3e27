"""Folders and files of this machine: whose they are, how they are made once, and whether they are whole."""
