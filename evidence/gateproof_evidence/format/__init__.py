"""How a bundle is laid out and spelled: paths, JSON, manifests, envelope, journal."""
