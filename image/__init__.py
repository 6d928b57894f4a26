"""The container images: their content, and how they are packed without a container engine."""
