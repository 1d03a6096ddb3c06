"""The format of a bundle: paths, JSON, manifests, envelope, journal."""
