"""The image: what is in it, and how it is packed where there is no container engine."""
