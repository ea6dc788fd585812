"""The views of the explorer, one file each: what a person sees of the selection, and acts on."""
